use super::*;

fn problem(change: &str) -> String {
    let text = format!("[[form]]\nname = \"test.do\"\neffect = \"read\"\nprogram = \"true\"\n{change}");
    let without = |key: &str| text.replacen(&format!("{key} = \"{}\"\n", value_of(key)), "", 1);
    let mut text = text.clone();
    for key in ["name", "effect", "program"] {
        if change.lines().any(|line| line.starts_with(&format!("{key} = "))) {
            text = without(key);
        }
    }
    let error = parse("test", &text).unwrap_err();
    match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn value_of(key: &str) -> &'static str {
    match key {
        "name" => "test.do",
        "effect" => "read",
        _ => "true",
    }
}

#[test]
fn holes_are_found_and_braces_of_templates_stand_for_themselves() {
    use Part::{Hole, Plain};
    assert_eq!(parts("--db={on}-{n1}"), [Plain("--db="), Hole("on"), Plain("-"), Hole("n1")]);
    for template in ["{{json .}}", "{{.ID}} {{.Names}}", "stash@{0}", "{", "}", "{{", "{ a }", "a}}b", "{A}"]
    {
        assert_eq!(holes_in(template).count(), 0, "{template}");
        let whole: String =
            parts(template).iter().map(|part| if let Plain(text) = part { *text } else { "" }).collect();
        assert_eq!(whole, template);
    }
    assert_eq!(parts("HEAD^{{commit}}"), [Plain("HEAD^"), Plain("{commit}")]);
    assert_eq!(sole_hole("{on}"), Some("on"));
    assert_eq!(sole_hole("x{on}"), None);
}

#[test]
fn a_form_that_makes_no_sense_is_refused_with_the_reason() {
    for (change, reason) in [
        ("name = \"true\"", "`power.deed`"),
        ("name = \"other.do\"", "among the forms of `test`"),
        ("program = \"../bin/sh\"", "a name, or an absolute path"),
        ("program = [[\"a\"], [\"b\"]]", "need `probe`"),
        ("search = [\"bin\"]", "an absolute path"),
        ("run_as = \"root\"", "the host's own affair"),
        ("arguments = [\"{what}\"]", "nothing says what `{what}` is"),
        ("holes.a = { kind = \"name\" }", "the hole `a` stands nowhere"),
        ("arguments = [\"{a}\"]\nholes.a = { kind = \"choice\" }", "`choices` belong to"),
        ("arguments = [\"{a}\"]\nholes.a = { kind = \"verse\" }", "unknown variant `verse`"),
        (
            "arguments = [\"{a}{b}\"]\nholes = { a = { kind = \"name\", many = true }, b = { kind = \"name\", many = true } }",
            "two holes with many",
        ),
        (
            "arguments = [[\"-t\", \"x{a}\"]]\nholes.a = { kind = \"name\", many = true }",
            "an argument of its own",
        ),
        ("arguments = [[]]", "a group is empty"),
        ("stdin = \"{a}\"\nholes.a = { kind = \"text\" }", "`stdin` is a hole of kind"),
        ("stdout = \"{a}\"\nholes.a = { kind = \"live\" }", "`stdout` is a hole of kind `side`"),
        ("stdout = \"{a}\"\nholes.a = { kind = \"side\" }", "writes no side copy"),
        ("stdin = \"{a}\"\nstdin_text = \"x\"\nholes.a = { kind = \"live\" }", "one input"),
        ("output_bytes_max = 2000000", "`output_bytes_max` is 1 to"),
        ("on.kind = \"number\"", "the kind of `on`"),
        ("codes = []", "no code that means well"),
        ("shell = true", "unknown field `shell`"),
    ] {
        let found = problem(change);
        assert!(found.contains(reason), "{change}\n{found}");
    }
}
