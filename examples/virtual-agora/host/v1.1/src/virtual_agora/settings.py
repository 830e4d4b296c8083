"""The configuration: mappings, and lists of mappings or words, by indentation."""


def _scalar(text):
    text = text.strip()
    if text[:1] in "\"'" and text[-1:] == text[:1]:
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isdigit() else text


def _block(lines, indent):
    """What stands at this indentation or deeper; takes its lines away."""
    if lines[0][1].startswith("- "):
        items = []
        while lines and lines[0][0] == indent and lines[0][1].startswith("- "):
            rest = lines[0][1][2:]
            if ":" in rest:
                lines[0] = (indent + 2, rest)
                items.append(_block(lines, indent + 2))
            else:
                lines.pop(0)
                items.append(_scalar(rest))
        return items
    table = {}
    while lines and lines[0][0] == indent and not lines[0][1].startswith("- "):
        key, _, value = lines.pop(0)[1].partition(":")
        if value.strip():
            table[key.strip()] = _scalar(value)
        else:
            deeper = lines and lines[0][0] >= indent
            table[key.strip()] = _block(lines, lines[0][0]) if deeper else None
    return table


def load(path):
    with open(path, encoding="utf-8") as file:
        lines = [line.split(" #")[0].rstrip() for line in file]
    kept = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return _block([(len(line) - len(line.lstrip()), line.strip()) for line in kept], 0)
