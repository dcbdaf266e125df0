// Package rows turns AWS responses into rows with JMESPath, the language of aws --query.
package rows

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"

	jmespath "github.com/jmespath-community/go-jmespath"

	"github.com/central-ops/central-ops/services/bridge"
)

// Words are the values of group_by that are no JMESPath: the bridge knows them of every row.
var words = map[string]bool{"account_id": true, "account_name": true, "environment": true, "region": true}

// Shape is a compiled select and group_by. It is safe for concurrent use.
type Shape struct {
	selectRows, rows, key jmespath.JMESPath // nil for none
}

var _ bridge.Shaper = Compile

// Compile returns the shape for an operation. An expression that does not compile is an invalid
// error that shows where.
func Compile(operation bridge.Operation, selectRows, groupBy string) (bridge.Shape, error) {
	var shape Shape
	var err error
	if selectRows = strings.TrimSpace(selectRows); selectRows != "" {
		if shape.selectRows, err = compile("select", selectRows); err != nil {
			return nil, err
		}
	} else if operation.Rows != "" {
		if shape.rows, err = compiledRows(operation.Rows); err != nil {
			return nil, fmt.Errorf("rows of %s: %w", operation, err)
		}
	}
	if groupBy = strings.TrimSpace(groupBy); groupBy != "" && !words[groupBy] {
		if shape.key, err = compile("group_by", groupBy); err != nil {
			return nil, err
		}
	}
	return shape, nil
}

// tableRows keeps the compiled Rows of operations by their text. There are no more than the operation table has.
var tableRows sync.Map

func compiledRows(expression string) (jmespath.JMESPath, error) {
	if found, ok := tableRows.Load(expression); ok {
		return found.(jmespath.JMESPath), nil
	}
	compiled, err := jmespath.Compile(expression)
	if err != nil {
		return nil, err
	}
	found, _ := tableRows.LoadOrStore(expression, compiled)
	return found.(jmespath.JMESPath), nil
}

// Rows returns the rows of document. With a select, its value is: a list, the rows; null, no row;
// anything else, one row. Without, they are where the operation table says, or else the only list
// in document, or else document as one row.
func (s Shape) Rows(document any) ([]any, error) {
	path, most := s.selectRows, maxRows
	if path == nil {
		path, most = s.rows, math.MaxInt // by the table, which copies nothing
	}
	if path == nil {
		return only(document), nil
	}
	value, err := search(path, document, most)
	if err != nil {
		return nil, &bridge.Error{Op: "select rows", Code: bridge.Invalid, Err: mismatch(err), Hint: "the expression doesn't fit this response; leave select out to see it"}
	}
	switch value := value.(type) {
	case nil:
		return nil, nil
	case []any:
		return value, nil
	default:
		return []any{value}, nil
	}
}

// Key returns the value of group_by on row.
func (s Shape) Key(row any) (any, error) {
	key, err := search(s.key, row, maxKey)
	if err != nil {
		return nil, &bridge.Error{Op: "group rows", Code: bridge.Invalid, Err: mismatch(err), Hint: "the expression doesn't fit the rows; leave group_by out to see them"}
	}
	return key, nil
}

// maxRows and maxKey bound what an expression makes of a response and of a row, in bytes of JSON. The bridge's script stops reading
// pages at 4 MB an account.
const (
	maxRows = 8 << 20
	maxKey  = 4096
)

// search returns the value of path on document, if it has at most so many bytes. The library panics over some expressions;
// whoever asks may write any, and must not end the process for everybody.
func search(path jmespath.JMESPath, document any, most int) (value any, err error) {
	defer func() {
		if recover() != nil {
			value, err = nil, errors.New("it can't be evaluated")
		}
	}()
	value, err = path.Search(document)
	if err == nil && most < math.MaxInt {
		_, err = spare(value, most)
	}
	if errors.Is(err, errTooMuch) {
		err = fmt.Errorf("it makes more than %d bytes of it", most)
	}
	if err != nil {
		return nil, err
	}
	return value, nil
}

var errTooMuch = errors.New("more than there is room for")

// spare returns what value, as JSON, leaves of so many bytes, or why it can't be written; it stops counting below 0, because a value may
// hold another many times.
func spare(value any, bytes int) (left int, err error) {
	switch value := value.(type) {
	case string:
		bytes -= len(value)
	case []any:
		for _, item := range value {
			if bytes, err = spare(item, bytes-1); err != nil {
				return 0, err
			}
		}
	case map[string]any:
		for name, item := range value {
			if bytes, err = spare(item, bytes-len(name)-4); err != nil {
				return 0, err
			}
		}
	case float64:
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return 0, errors.New("it makes a number that JSON does not have, such as one divided by 0")
		}
		bytes -= 2
	default:
		if reflect.ValueOf(value).Kind() == reflect.Func {
			return 0, errors.New("& is for the arguments of functions")
		}
		bytes -= 2
	}
	if bytes -= 2; bytes < 0 {
		return 0, errTooMuch
	}
	return bytes, nil
}

// only returns the one list among document's members, or document as one row.
func only(document any) []any {
	object, ok := document.(map[string]any)
	if !ok {
		if list, ok := document.([]any); ok {
			return list
		}
		return []any{document}
	}
	var found []any
	lists, others := 0, 0
	for name, value := range object {
		switch value := value.(type) {
		case []any:
			found = value
			lists++
		default:
			if name != "ResponseMetadata" {
				others++
			}
		}
	}
	if lists == 1 {
		return found
	}
	if lists == 0 && others == 0 {
		return nil
	}
	delete(object, "ResponseMetadata")
	return []any{object}
}
