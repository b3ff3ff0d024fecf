"""Evaluates the templates of `infra/` as a deployment would, as far as that is possible without Azure.

There is no Bicep compiler in the package registries. This reads the syntax tree and works out parameters, variables,
loops and modules, so that the checks see the resources of an environment as they would be sent, not as they are written.
What only Azure knows (an address, an id) is a `Runtime` text in angle brackets. It knows the part of the language that
the templates use and refuses the rest.
"""

import ipaddress
import json
import re
from dataclasses import dataclass, field

import tree_sitter_bicep
import yaml
from tree_sitter import Language, Parser

PARSER = Parser(Language(tree_sitter_bicep.language()))
COMMENTS = ("comment", "diagnostic_comment")


class BicepError(Exception):
    """A template that cannot be evaluated, with file and line."""


class Runtime(str):
    """A value that only a deployment knows. Its properties are unknown as well."""


@dataclass
class Resource:
    """A resource as it would be sent."""

    symbol: str
    type: str
    version: str
    body: dict
    existing: bool
    module: str
    parent: "Resource | None" = None

    @property
    def name(self):
        own = self.body.get("name", "")
        return f"{self.parent.name}/{own}" if self.parent else own

    @property
    def id(self):
        return f"{self.type}/{self.name}"

    @property
    def properties(self):
        return self.body.get("properties", {})


@dataclass
class Module:
    """A module as it would be deployed."""

    outputs: dict


@dataclass
class Deployment:
    """Everything that one parameter file asks for."""

    resources: list = field(default_factory=list)

    def of_type(self, type_name):
        return [r for r in self.resources if r.type.lower() == type_name.lower() and not r.existing]


def parse(path):
    """The syntax tree of a template or parameter file."""
    source = path.read_text()
    if path.suffix == ".bicepparam":
        # The grammar has no parameter files; their assignments are parsed as variables.
        source = re.sub(r"^param (\w+) =", r"var   \1 =", source, flags=re.MULTILINE)
    return PARSER.parse(source.encode()).root_node


def syntax_errors(path):
    """Line and text of each syntax error."""
    pending = [parse(path)]
    while pending:
        node = pending.pop()
        if node.type == "ERROR" or node.is_missing:
            yield node.start_point[0] + 1, text(node)[:60]
        else:
            pending.extend(node.children)


def evaluate(parameter_file, environment):
    """The deployment of a parameter file, with `environment` for the variables that it reads."""
    deployment = Deployment()
    parameters = File(parameter_file, {}, deployment, environment)
    using = re.search(r"^using '([^']+)'", parameter_file.read_text(), re.MULTILINE)
    template = parameter_file.parent / using.group(1)
    File(template, {name: parameters.symbol(name) for name in parameters.declarations}, deployment, environment).deploy()
    return deployment


def text(node):
    return node.text.decode()


def children(node):
    return [child for child in node.named_children if child.type not in COMMENTS]


class File:
    """One template with its parameters given."""

    def __init__(self, path, arguments, deployment, environment, module=""):
        self.path = path
        self.arguments = arguments
        self.deployment = deployment
        self.environment = environment
        self.module = module
        self.values = {}
        self.declarations = {}
        self.outputs = {}
        for node in parse(path).named_children:
            # An output may bear the name of something else.
            if node.type == "output_declaration":
                self.outputs[text(children(node)[0])] = children(node)[-1]
            elif node.type.endswith("_declaration"):
                self.declarations[text(children(node)[0])] = node

    def deploy(self):
        """Evaluates everything. Returns the module's outputs."""
        for name in self.declarations:
            self.symbol(name)
        return {name: self.value(node, {}) for name, node in self.outputs.items()}

    def fail(self, node, message):
        raise BicepError(f"{self.path.name}:{node.start_point[0] + 1}: {message}")

    def symbol(self, name):
        if name not in self.values:
            self.values[name] = self.declared(name, self.declarations[name])
        return self.values[name]

    def declared(self, name, node):
        parts = children(node)
        if node.type == "variable_declaration":
            return self.value(parts[-1], {})
        if node.type == "parameter_declaration":
            if name in self.arguments:
                return self.arguments[name]
            if len(parts) < 3:
                self.fail(node, f"no value for parameter {name}")
            return self.value(parts[-1], {})
        if node.type == "resource_declaration":
            return self.each(parts[-1], {}, lambda body, scope: self.resource(node, body, scope, None))
        if node.type == "module_declaration":
            return self.each(parts[-1], {}, lambda body, scope: self.deployed_module(node, body, scope))
        return self.fail(node, f"{node.type} is not known here")

    def each(self, node, scope, make):
        """`make` for an object, or for each turn of a loop."""
        if node.type != "for_statement":
            return make(node, scope)
        return [make(node.child_by_field_name("body"), inner) for inner in self.turns(node, scope)]

    def turns(self, node, scope):
        parts = children(node)
        names = [text(p) for p in children(parts[0])] if parts[0].type == "for_loop_parameters" else [text(parts[0])]
        for index, item in enumerate(self.value(parts[1], scope)):
            yield scope | dict(zip(names, (item, index)))

    def resource(self, node, body, scope, parent):
        symbol, kind = (text(p).strip("'") for p in children(node)[:2])
        name, _, version = kind.partition("@")
        if parent:
            name, version = f"{parent.type}/{name}", version or parent.version
        entries = [c for c in children(body) if c.type == "object_property"]
        nested = [c for c in (children(e)[0] for e in entries) if c.type == "resource_declaration"]
        values = self.pairs([e for e in entries if children(e)[0] not in nested], scope)
        existing = any(c.type == "existing" or text(c) == "existing" for c in node.children)
        made = Resource(symbol, name, version, values, existing, self.module, values.pop("parent", parent))
        self.deployment.resources.append(made)
        for inner in nested:
            self.resource(inner, children(inner)[-1], scope, made)
        return made

    def deployed_module(self, node, body, scope):
        path = self.path.parent / text(children(node)[1]).strip("'")
        values = self.value(body, scope)
        inner = File(path, values.get("params", {}), self.deployment, self.environment, values["name"])
        unknown = set(inner.arguments) - set(inner.declarations)
        if unknown:
            self.fail(node, f"{path.name} has no parameter {', '.join(sorted(unknown))}")
        return Module(inner.deploy())

    def pairs(self, entries, scope):
        result = {}
        for entry in entries:
            key, value = children(entry)
            result[self.value(key, scope) if key.type == "string" else text(key)] = self.value(value, scope)
        return result

    def value(self, node, scope):
        evaluate_node = getattr(self, f"on_{node.type}", None)
        if evaluate_node is None:
            self.fail(node, f"{node.type} is not known here")
        return evaluate_node(node, scope)

    def on_string(self, node, scope):
        result = ""
        for part in node.named_children:
            if part.type == "interpolation":
                inner = self.value(part.named_children[0], scope)
                result += inner if isinstance(inner, str) else json.dumps(inner)
            elif part.type == "escape_sequence":
                result += text(part)[1:].translate({ord("n"): "\n", ord("t"): "\t"})
            else:
                result += text(part)
        return result

    def on_number(self, node, _scope):
        return int(text(node))

    def on_boolean(self, node, _scope):
        return text(node) == "true"

    def on_null(self, _node, _scope):
        return None

    def on_object(self, node, scope):
        return self.pairs(children(node), scope)

    def on_array(self, node, scope):
        return [self.value(child, scope) for child in children(node)]

    def on_for_statement(self, node, scope):
        return self.each(node, scope, self.value)

    def on_parenthesized_expression(self, node, scope):
        return self.value(children(node)[0], scope)

    def on_identifier(self, node, scope):
        name = text(node)
        if name in scope:
            return scope[name]
        if name not in self.declarations:
            self.fail(node, f"{name} is not declared")
        return self.symbol(name)

    def on_lambda_expression(self, node, scope):
        # Only met as the start of its own body, see `function`.
        return self.value(children(node)[-1], scope)

    def on_ternary_expression(self, node, scope):
        chosen = "consequence" if self.value(node.child_by_field_name("condition"), scope) else "alternative"
        return self.value(node.child_by_field_name(chosen), scope)

    def on_unary_expression(self, node, scope):
        argument = self.value(node.child_by_field_name("argument"), scope)
        return not argument if text(node).startswith("!") else -argument

    def on_binary_expression(self, node, scope):
        left, right = (self.value(node.child_by_field_name(side), scope) for side in ("left", "right"))
        operators = {
            "==": lambda: left == right,
            "!=": lambda: left != right,
            "+": lambda: left + right,
            "-": lambda: left - right,
            "*": lambda: left * right,
            "/": lambda: left // right,
            "&&": lambda: left and right,
            "||": lambda: left or right,
        }
        return operators[text(node.child_by_field_name("operator"))]()

    def on_member_expression(self, node, scope):
        owner = self.value(node.child_by_field_name("object"), scope)
        name = text(node.child_by_field_name("property"))
        if isinstance(owner, Runtime):
            return Runtime(f"{owner[:-1]}.{name}>")
        if isinstance(owner, Resource):
            return getattr(owner, name) if name in ("id", "name") else Runtime(f"<{owner.name}.{name}>")
        members = {"outputs": owner.outputs} if isinstance(owner, Module) else owner
        if name not in members:
            self.fail(node, f"{text(node)} is not there")
        return members[name]

    def on_subscript_expression(self, node, scope):
        owner, index = (self.value(node.child_by_field_name(part), scope) for part in ("object", "index"))
        try:
            return owner[index]
        except (KeyError, IndexError):
            return self.fail(node, f"{text(node)} is not there")

    def on_call_expression(self, node, scope):
        name = text(node.child_by_field_name("function"))
        given = children(node.child_by_field_name("arguments"))
        function = getattr(self, f"call_{name}", None)
        if function is None:
            self.fail(node, f"function {name} is not known here")
        return function(*(self.argument(argument, scope) for argument in given))

    def argument(self, node, scope):
        """The value of an argument; a lambda is a function."""
        start = node
        # The grammar binds `x => x.y` as `(x => x).y`.
        while start.type != "lambda_expression" and start.type.endswith("_expression") and start.children:
            start = start.children[0]
        if start.type != "lambda_expression":
            return self.value(node, scope)
        name = text(children(start)[0])
        return lambda item: self.value(node, scope | {name: item})

    call_contains = staticmethod(lambda values, value: value in values)
    call_concat = staticmethod(lambda *lists: [item for each in lists for item in each])
    call_filter = staticmethod(lambda values, function: [value for value in values if function(value)])
    call_flatten = staticmethod(lambda lists: [item for each in lists for item in each])
    call_guid = staticmethod(lambda *parts: Runtime(f"<guid of {' '.join(parts)}>"))
    call_indexOf = staticmethod(lambda values, value: values.index(value))
    call_items = staticmethod(lambda value: [{"key": key, "value": value[key]} for key in sorted(value)])
    call_join = staticmethod(lambda values, between: between.join(values))
    call_length = staticmethod(len)
    call_map = staticmethod(lambda values, function: [function(value) for value in values])
    call_range = staticmethod(lambda start, count: list(range(start, start + count)))
    call_replace = staticmethod(lambda value, old, new: value.replace(old, new))
    call_resourceId = staticmethod(lambda kind, *names: f"{kind}/{'/'.join(names)}")
    call_skip = staticmethod(lambda values, count: values[count:])
    call_split = staticmethod(lambda value, at: value.split(at))
    call_string = staticmethod(str)
    call_subscriptionResourceId = call_resourceId
    call_take = staticmethod(lambda value, count: value[:count])

    @staticmethod
    def call_union(*parts):
        """Of arrays: each entry once; of objects: each key once."""
        if isinstance(parts[0], list):
            return list(dict.fromkeys(entry for part in parts for entry in part))
        return {key: part[key] for part in parts for key in part}

    # As long as a real one: the length of names depends on it.
    call_uniqueString = staticmethod(lambda *_parts: "uniquestring1")
    call_empty = staticmethod(lambda value: not value)
    call_environment = staticmethod(lambda: Runtime("<environment>"))
    call_resourceGroup = staticmethod(lambda *_name: Runtime("<resourceGroup>"))
    call_subscription = staticmethod(lambda: Runtime("<subscription>"))

    @staticmethod
    def call_cidrSubnet(prefix, length, index):
        return str(list(ipaddress.ip_network(prefix).subnets(new_prefix=length))[index])

    def call_readEnvironmentVariable(self, name, *default):
        if name not in self.environment and not default:
            raise BicepError(f"{self.path.name}: the environment has no {name}")
        return self.environment.get(name, *default)

    def call_loadTextContent(self, name):
        path = self.path.parent / name
        if not path.exists():
            raise BicepError(f"{self.path.name}: there is no {name}")
        return path.read_text()

    def call_loadJsonContent(self, name):
        return json.loads(self.call_loadTextContent(name))

    def call_loadYamlContent(self, name):
        return yaml.safe_load(self.call_loadTextContent(name))


def render(deployment, prefix):
    """The deployment as Bicep in which every value is written out, for tools that evaluate nothing."""
    blocks = []
    for index, resource in enumerate(deployment.resources):
        if not resource.existing:
            body = {key: value for key, value in resource.body.items() if key not in ("scope", "dependsOn")}
            blocks.append(
                f"resource {prefix}{index}_{resource.symbol} '{resource.type}@{resource.version}' = {literal(body)}\n"
            )
    return "\n".join(blocks)


def literal(value, indent=""):
    """A value in Bicep."""
    inner = indent + "  "
    if isinstance(value, dict):
        lines = [f"{inner}{name(key)}: {literal(value[key], inner)}\n" for key in value]
        return "{\n" + "".join(lines) + indent + "}" if lines else "{}"
    if isinstance(value, list):
        lines = [f"{inner}{literal(item, inner)}\n" for item in value]
        return "[\n" + "".join(lines) + indent + "]" if lines else "[]"
    if isinstance(value, Resource):
        return quoted(value.id)
    return quoted(value) if isinstance(value, str) else json.dumps(value)


def name(key):
    return key if re.fullmatch(r"[A-Za-z_]\w*", key) else quoted(key)


def quoted(value):
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("${", "\\${")
    return f"'{escaped}'"
