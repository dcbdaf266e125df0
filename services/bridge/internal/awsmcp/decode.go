package awsmcp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// lenient reads what encoding/json does: of a name that stands twice the last counts, and what is not UTF-8, or
// half of a surrogate pair, becomes U+FFFD.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// unmarshal reads JSON; its error says where and what, without the names of our types.
func unmarshal(data []byte, into any) error {
	err := json.Unmarshal(data, into, lenient)
	if wrong := (*json.SemanticError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("unexpected %s at %q", wrong.JSONKind, wrong.JSONPointer)
	}
	return err
}

// JSON-RPC codes that mean something here. The first two are the server's own.
const (
	codeSessionLost    = -30001 // https://github.com/aws/mcp-proxy-for-aws/issues/117
	codeTooMany        = -32004 // https://github.com/awslabs/mcp/issues/2949
	codeInvalidRequest = -32600
	codeNoMethod       = -32601
	codeInvalidParams  = -32602
)

// eventStream is the media type of server-sent events.
const eventStream = "text/event-stream"

// reply is a JSON-RPC response whose result is an R. All of it is read at once, because an answer can be long.
type reply[R any] struct {
	ID     jsontext.Value `json:"id"`
	Method string         `json:"method"`
	Result *R             `json:"result"`
	Error  *rpcError      `json:"error"`
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string { return fmt.Sprintf("%s (%d)", e.Message, e.Code) }

// decode finds the response to message id in body: a JSON object, or server-sent events of which
// one holds it. An error is taken without an id as well, and with any as the whole of a body: some are
// answered before the server has read what they answer.
func decode[R any](contentType string, body []byte, id int64) (reply[R], error) {
	kind, _, _ := mime.ParseMediaType(contentType) // "" if malformed: then it is read as JSON
	var last error = errors.New("the answer holds no response")
	for _, data := range frames(kind, body) {
		var r reply[R]
		if err := unmarshal(data, &r); err != nil {
			last = fmt.Errorf("the answer is not what was asked for: %w", err)
			continue
		}
		switch {
		case r.Method != "": // a notification or a request of the server's
		case r.Error != nil && (kind != eventStream || len(r.ID) == 0 || string(r.ID) == "null"):
			return r, nil
		case r.Error == nil && r.Result == nil:
			last = errors.New("the answer has neither result nor error")
		case string(r.ID) == fmt.Sprint(id) || string(r.ID) == fmt.Sprintf("%q", fmt.Sprint(id)):
			return r, nil
		default:
			last = errors.New("the answer is to another request")
		}
	}
	return reply[R]{}, last
}

// readBody reads an answer's body, of length bytes if that isn't negative, to its end, or, of
// server-sent events, to the response to message id: the server may leave the stream open after it. Those after a notification (id 0)
// respond to nothing.
func readBody(contentType string, body io.Reader, length, id int64) ([]byte, error) {
	if kind, _, _ := mime.ParseMediaType(contentType); kind != eventStream {
		var all bytes.Buffer
		all.Grow(int(min(max(length, 0), maxAnswer)) + bytes.MinRead) // MinRead: or ReadFrom makes room again at the end
		_, err := all.ReadFrom(body)
		return all.Bytes(), err
	}
	if id == 0 {
		return nil, nil
	}
	lines := bufio.NewReader(body)
	var all []byte
	event := 0 // where the event that is being read begins in all
	for {
		line, err := lines.ReadBytes('\n')
		all = append(all, line...)
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			if _, unknown := decode[jsontext.Value](contentType, all[event:], id); unknown == nil {
				return all[event:], nil
			}
			event = len(all)
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
	}
}

// growing is a body of unknown length: before more than left of it is read, there must be room.
type growing struct {
	io.Reader
	left int
	room func() error // nil once there is
}

func (g *growing) Read(p []byte) (int, error) {
	if g.room == nil {
		return g.Reader.Read(p)
	}
	if g.left == 0 {
		if err := g.room(); err != nil {
			return 0, err
		}
		g.room = nil
		return g.Reader.Read(p)
	}
	n, err := g.Reader.Read(p[:min(len(p), g.left)])
	g.left -= n
	return n, err
}

// valid returns text with what is not UTF-8 as U+FFFD.
func valid(text []byte) []byte {
	if utf8.Valid(text) {
		return text
	}
	return bytes.ToValidUTF8(text, []byte("\uFFFD"))
}

// frames returns the JSON texts in body: itself, or the data of each server-sent event.
func frames(kind string, body []byte) [][]byte {
	body = bytes.TrimPrefix(body, []byte("\uFEFF"))
	if kind != eventStream {
		return [][]byte{body}
	}
	body = bytes.ReplaceAll(bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	var all [][]byte
	var data []byte
	flush := func() {
		if len(data) > 0 {
			all = append(all, data)
		}
		data = nil
	}
	for line := range bytes.SplitSeq(body, []byte("\n")) {
		if len(line) == 0 {
			flush()
		} else if value, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, bytes.TrimPrefix(value, []byte(" "))...)
		}
	}
	flush()
	return all
}
