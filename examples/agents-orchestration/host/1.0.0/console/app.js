fetch("/health").then(answer => answer.json()).then(console.log);
