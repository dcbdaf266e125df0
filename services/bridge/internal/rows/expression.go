package rows

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
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
	if err := check(tree); err != nil {
		return nil, err
	}
	if growth(tree) > maxGrowth {
		return nil, errors.New("it makes too many copies of what it reads")
	}
	return jmespath.Compile(expression, join)
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

// known are the functions that may be called. Those that aws --query does not have, and that make a long text of a short one, are not.
var known = func() map[string]bool {
	names := map[string]bool{}
	for _, function := range functions.GetDefaultFunctions() {
		names[function.Name] = true
	}
	for _, name := range []string{"pad_left", "pad_right", "replace"} {
		delete(names, name)
	}
	return names
}()

// check returns an error if tree calls a function that is not known, or holds what aws --query does not have.
func check(tree parsing.ASTNode) error {
	switch tree.NodeType {
	case parsing.ASTFunctionExpression:
		if name, _ := tree.Value.(string); !known[name] {
			return fmt.Errorf("unknown function: %s", name)
		}
	case parsing.ASTRootNode:
		return errors.New("aws --query has no $")
	case parsing.ASTLetExpression:
		return errors.New("aws --query has no let")
	}
	for _, child := range tree.Children {
		if err := check(child); err != nil {
			return err
		}
	}
	return nil
}

// maxGrowth is how many copies of a response an expression may make. An object of 30 members makes 30 at most.
const maxGrowth = 1000

// growth is how many copies of what it reads the value of tree can hold. Without a bound, "[@,@]|" forty times over would fill any memory.
func growth(tree parsing.ASTNode) float64 {
	sum, product, most := 0.0, 1.0, 1.0
	for _, child := range tree.Children {
		g := growth(child)
		sum, product, most = sum+g, product*g, max(most, g)
	}
	switch tree.NodeType {
	case parsing.ASTMultiSelectList, parsing.ASTMultiSelectHash:
		return max(sum, 1)
	case parsing.ASTFunctionExpression:
		copies := max(sum, 1)
		if slices.ContainsFunc(tree.Children, func(c parsing.ASTNode) bool { return c.NodeType == parsing.ASTExpRef }) {
			copies = product // of one argument for each item of the other
		}
		if name := tree.Value; name == "join" || name == "to_string" {
			copies *= 4 // separators, and escapes
		}
		return copies
	case parsing.ASTComparator, parsing.ASTOrExpression, parsing.ASTAndExpression, parsing.ASTNotExpression,
		parsing.ASTArithmeticExpression, parsing.ASTArithmeticUnaryExpression:
		return most
	default: // one step after the other, or one for each item
		return product
	}
}

// join is JMESPath's, but for separators that come to much more than the texts between them.
var join = func() functions.FunctionEntry {
	all := functions.GetDefaultFunctions()
	entry := all[slices.IndexFunc(all, func(f functions.FunctionEntry) bool { return f.Name == "join" })]
	plain := entry.Handler
	entry.Handler = func(arguments []any) (any, error) {
		separator, _ := arguments[0].(string)
		texts, _ := arguments[1].([]any)
		length := 0
		for _, text := range texts {
			s, _ := text.(string)
			length += len(s)
		}
		if len(separator)*len(texts) > 4*length+64<<10 {
			return nil, errors.New("the separator of join is too long")
		}
		return plain(arguments)
	}
	return entry
}()

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
