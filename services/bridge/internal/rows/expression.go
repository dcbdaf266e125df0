package rows

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	jmespath "github.com/jmespath-community/go-jmespath"
	"github.com/jmespath-community/go-jmespath/pkg/functions"
	"github.com/jmespath-community/go-jmespath/pkg/parsing"

	"github.com/central-ops/central-ops/services/bridge"
)

// compile compiles the expression of an argument. What aws --query takes is taken: see literals. A
// function that doesn't exist is refused here, before AWS is asked, and not at the first answer.
func compile(argument, expression string) (jmespath.JMESPath, error) {
	compiled, err := parse(literals(expression))
	if err != nil {
		return nil, &bridge.Error{Op: "read query", Code: bridge.Invalid, Err: fmt.Errorf("%s is not valid JMESPath: %w", argument, err),
			Hint: "write it as for aws --query, such as Reservations[].Instances[].InstanceId"}
	}
	return compiled, nil
}

// parse compiles expression. The library panics over some, such as one whose last character is a letter beyond ASCII; see search.
func parse(expression string) (compiled jmespath.JMESPath, err error) {
	defer func() {
		if recover() != nil {
			compiled, err = nil, errors.New("it can't be read")
		}
	}()
	tree, err := parsing.NewParser().Parse(expression)
	if err != nil {
		return nil, err
	}
	if err := knowsFunctions(tree); err != nil {
		return nil, err
	}
	return jmespath.Compile(expression)
}

// literals returns expression with each literal in backticks that is no JSON, such as `running`, as the
// JSON string that the AWS CLI takes it for (https://github.com/jmespath/jmespath.py, _consume_literal).
func literals(expression string) string {
	var b strings.Builder
	for rest := expression; rest != ""; {
		open := strings.IndexAny(rest, "`'\"")
		if open < 0 {
			return b.String() + rest
		}
		end := closing(rest, open)
		if end < 0 {
			return b.String() + rest // the parser says that it isn't closed
		}
		quoted := rest[open : end+1]
		if rest[open] == '`' {
			text := strings.ReplaceAll(quoted[1:len(quoted)-1], "\\`", "`")
			if asString := `"` + strings.TrimLeft(text, " \t\r\n") + `"`; !json.Valid([]byte(text)) && json.Valid([]byte(asString)) {
				quoted = "`" + strings.ReplaceAll(asString, "`", "\\`") + "`"
			}
		}
		b.WriteString(rest[:open] + quoted)
		rest = rest[end+1:]
	}
	return b.String()
}

// closing returns where the quote that opens at open is closed, -1 if nowhere. A backslash takes the
// next character with it.
func closing(expression string, open int) int {
	for i := open + 1; i < len(expression); i++ {
		switch expression[i] {
		case '\\':
			i++
		case expression[open]:
			return i
		}
	}
	return -1
}

var known = func() map[string]bool {
	names := map[string]bool{}
	for _, function := range functions.GetDefaultFunctions() {
		names[function.Name] = true
	}
	return names
}()

// knowsFunctions returns an error if tree calls a function that JMESPath doesn't have.
func knowsFunctions(tree parsing.ASTNode) error {
	if name, ok := tree.Value.(string); ok && tree.NodeType == parsing.ASTFunctionExpression && !known[name] {
		return fmt.Errorf("unknown function: %s", name)
	}
	for _, child := range tree.Children {
		if err := knowsFunctions(child); err != nil {
			return err
		}
	}
	return nil
}

var (
	wrongType = regexp.MustCompile(`(?s)^invalid type for: .*, expected: \[\]functions\.JpType\{(.*)\}$`)
	typeName  = regexp.MustCompile(`"([^"]*)"`)
)

// mismatch says why an expression doesn't fit a value, without the value: the library's text quotes
// all of it.
func mismatch(err error) error {
	if match := wrongType.FindStringSubmatch(err.Error()); match != nil {
		var types []string
		for _, name := range typeName.FindAllStringSubmatch(match[1], -1) {
			types = append(types, name[1])
		}
		return errors.New("a function got a value of another type than it takes: " + strings.Join(types, " or "))
	}
	const most = 300
	if text := err.Error(); len(text) > most {
		return errors.New(strings.ToValidUTF8(text[:most], "") + "…")
	}
	return err
}
