//! The servers of an nginx `upstream`, read and rewritten in place: everything
//! else in the file stays as it was, to the byte. Pure.

use sternway_plugin::Error;

use crate::share::Share;

/// One directive: its words, and where it stands.
#[derive(Debug)]
struct Statement<'t> {
    words: Vec<&'t str>,
    from: usize,
    /// The place of what ends it.
    to: usize,
    ends: u8,
    /// Blocks around it.
    depth: usize,
}

/// One `server` of the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) share: Share,
    from: usize,
    to: usize,
    parameters: Vec<String>,
}

/// The servers of the upstream `block`, or of the only one. A file without any
/// upstream is taken for the inside of one.
pub(crate) fn servers(text: &str, block: Option<&str>) -> Result<Vec<Server>, Error> {
    let statements = statements(text)?;
    let blocks: Vec<usize> = (0..statements.len())
        .filter(|at| statements[*at].words.first() == Some(&"upstream") && statements[*at].ends == b'{')
        .collect();
    let named = |at: &&usize| block.is_none_or(|name| statements[**at].words.get(1) == Some(&name));
    let mut found = blocks.iter().filter(named);
    let inside: &[Statement<'_>] = match (found.next(), found.next(), block) {
        (None, _, None) => &statements,
        (None, _, Some(name)) => {
            return Err(Error::not_found(
                "traffic/no-such-upstream",
                format!("there is no upstream `{name}`"),
            ));
        }
        (Some(_), Some(_), _) => {
            let message = "the file has several upstreams: say which one by `block`";
            return Err(Error::invalid("traffic/which-upstream", message));
        }
        (Some(at), None, _) => {
            let depth = statements[*at].depth;
            let rest = &statements[at + 1..];
            let end = rest.iter().position(|one| one.ends == b'}' && one.depth == depth + 1);
            &rest[..end.unwrap_or(rest.len())]
        }
    };
    let servers: Vec<Server> = inside.iter().filter_map(server).collect();
    if servers.is_empty() {
        return Err(Error::not_found("traffic/no-servers", "the upstream has no servers"));
    }
    Ok(servers)
}

/// `text` with these servers as wanted; the others are left alone.
pub(crate) fn rewritten(text: &str, servers: &[Server], wanted: &[(String, Share)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for server in servers {
        let Some((_, share)) = wanted.iter().find(|(name, _)| *name == server.name) else { continue };
        if is_as(server.share, *share) {
            continue;
        }
        out.push_str(&text[done..server.from]);
        out.push_str(&statement(server, *share));
        done = server.to;
    }
    out.push_str(&text[done..]);
    out
}

/// nginx has no weight of nothing: such a server is down.
pub(crate) fn is_as(one: Share, other: Share) -> bool {
    let plain = |share| if share == Share::Weight(0) { Share::Down } else { share };
    plain(one) == plain(other)
}

fn server(statement: &Statement<'_>) -> Option<Server> {
    let ["server", name, parameters @ ..] = statement.words.as_slice() else { return None };
    if statement.ends != b';' {
        return None;
    }
    let weight = parameters.iter().find_map(|word| word.strip_prefix("weight=")?.parse().ok());
    let share = if parameters.contains(&"down") {
        Share::Down
    } else if parameters.contains(&"backup") {
        Share::Backup
    } else {
        Share::Weight(weight.unwrap_or(1))
    };
    let (from, to) = (statement.from, statement.to);
    let parameters = parameters.iter().map(|word| (*word).to_owned()).collect();
    Some(Server { name: (*name).to_owned(), share, from, to, parameters })
}

fn statement(server: &Server, share: Share) -> String {
    let mut words = vec!["server".to_owned(), server.name.clone()];
    let ours = |word: &&String| !matches!(word.as_str(), "down" | "backup") && !word.starts_with("weight=");
    match share {
        Share::Weight(0) | Share::Down | Share::Drain => words.push("down".to_owned()),
        Share::Weight(1) => {}
        Share::Weight(weight) => words.push(format!("weight={weight}")),
        Share::Backup => words.push("backup".to_owned()),
    }
    words.extend(server.parameters.iter().filter(ours).cloned());
    words.join(" ")
}

fn statements(text: &str) -> Result<Vec<Statement<'_>>, Error> {
    let wrong = |what: &str| {
        Error::invalid("traffic/not-nginx", format!("this is no configuration of nginx: {what}"))
    };
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut words: Vec<(usize, usize)> = Vec::new();
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            byte if byte.is_ascii_whitespace() => at += 1,
            b'#' => at += bytes[at..].iter().take_while(|byte| **byte != b'\n').count(),
            ends @ (b';' | b'{' | b'}') => {
                let from = words.first().map_or(at, |(from, _)| *from);
                let told = words.drain(..).map(|(from, to)| &text[from..to]).collect();
                found.push(Statement { words: told, from, to: at, ends, depth });
                match ends {
                    b'{' => depth += 1,
                    b'}' => depth = depth.checked_sub(1).ok_or_else(|| wrong("a `}` too many"))?,
                    _ => {}
                }
                at += 1;
            }
            _ => {
                let end = word_end(bytes, at).ok_or_else(|| wrong("a quote has no end"))?;
                words.push((at, end));
                at = end;
            }
        }
    }
    if depth > 0 || !words.is_empty() {
        return Err(wrong("it ends in the middle"));
    }
    Ok(found)
}

fn word_end(bytes: &[u8], from: usize) -> Option<usize> {
    let quote = bytes[from];
    if quote == b'"' || quote == b'\'' {
        let mut at = from + 1;
        while *bytes.get(at)? != quote {
            at += if bytes[at] == b'\\' { 2 } else { 1 };
        }
        return Some(at + 1);
    }
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            // `${name}` is part of a word.
            b'{' if at > from && bytes[at - 1] == b'$' => {
                at += bytes[at..].iter().position(|byte| *byte == b'}')? + 1;
            }
            byte if byte.is_ascii_whitespace() || matches!(byte, b';' | b'{' | b'}') => break,
            _ => at += 1,
        }
    }
    Some(at.min(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# the application; { not a block\nupstream app {\n    least_conn;\n    \
        server 10.0.0.1:80 weight=3 max_fails=2;   # blue\n    server 10.0.0.2:80\n        down;\n    \
        server unix:/run/c.sock backup;\n}\nserver { listen 80; location / { proxy_pass \"http://app;{\"; } }\n";

    fn wanted(pairs: &[(&str, Share)]) -> Vec<(String, Share)> {
        pairs.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect()
    }

    #[test]
    fn servers_are_read_where_they_stand() {
        let servers = servers(FILE, None).unwrap();
        let told: Vec<_> = servers.iter().map(|server| (server.name.as_str(), server.share)).collect();
        assert_eq!(
            told,
            [
                ("10.0.0.1:80", Share::Weight(3)),
                ("10.0.0.2:80", Share::Down),
                ("unix:/run/c.sock", Share::Backup)
            ]
        );
    }

    #[test]
    fn only_the_servers_that_change_are_written_anew() {
        let servers = servers(FILE, Some("app")).unwrap();
        let to = wanted(&[("10.0.0.1:80", Share::Weight(0)), ("10.0.0.2:80", Share::Weight(19))]);
        let text = rewritten(FILE, &servers, &to);
        let expected = FILE
            .replace("server 10.0.0.1:80 weight=3 max_fails=2", "server 10.0.0.1:80 down max_fails=2")
            .replace("server 10.0.0.2:80\n        down", "server 10.0.0.2:80 weight=19");
        assert_eq!(text, expected);
        let same = wanted(&[("10.0.0.1:80", Share::Weight(3)), ("10.0.0.2:80", Share::Weight(0))]);
        assert_eq!(rewritten(FILE, &servers, &same), FILE);
        let one = wanted(&[("unix:/run/c.sock", Share::Weight(1))]);
        assert!(rewritten(FILE, &servers, &one).contains("server unix:/run/c.sock;"));
    }

    #[test]
    fn a_file_of_servers_only_is_the_inside_of_an_upstream() {
        assert_eq!(servers("server a:1;\nserver b:1 weight=2;\n", None).unwrap().len(), 2);
    }

    #[test]
    fn what_cannot_be_read_for_certain_is_refused() {
        for (text, block, code) in [
            ("upstream a { server x:1; } upstream b { server y:1; }", None, "traffic/which-upstream"),
            ("upstream a { server x:1; }", Some("b"), "traffic/no-such-upstream"),
            ("upstream a { ip_hash; }", None, "traffic/no-servers"),
            ("", None, "traffic/no-servers"),
            ("upstream a { server x:1;", None, "traffic/not-nginx"),
            ("upstream a { server x:1; } }", None, "traffic/not-nginx"),
            ("upstream a { server \"x:1; }", None, "traffic/not-nginx"),
            ("server x:1", None, "traffic/not-nginx"),
        ] {
            assert_eq!(servers(text, block).unwrap_err().code, code, "{text}");
        }
    }
}
