package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/central-ops/central-ops/services/agent/internal/standin"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

//go:generate go test -run ^TestExchanges$ -update .

var update = flag.Bool("update", false, "rewrite the replies in testdata/exchanges")

// TestExchanges sends the requests of each archive in testdata/exchanges to an agent of its own and compares
// the replies byte for byte. An archive begins with the faults that it guards against. Its sections:
//
//	environment      lines NAME=value
//	model            what the model says next: a standin.Turn as JSON on each line
//	tool             what the next tool call is answered: the text that the Lambda's answer becomes
//	gateway          the same, as a whole standin.Reply in JSON
//	request          request line, headers, blank line, body; {alice} and the like in a header become a person's token
//	reply            status and Content-Type, headers worth a look, blank line, body
//
// Every request has a session id unless it names one itself, as empty for none. -update rewrites the replies and nothing else.
func TestExchanges(t *testing.T) {
	t.Parallel()
	if *update && os.Getenv("CI") != "" {
		t.Fatal("-update under CI: what the replies should be is decided by a person")
	}
	files, err := filepath.Glob("testdata/exchanges/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			exchange(t, file)
		})
	}
}

func exchange(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(bytes.TrimSpace(archive.Comment)) == 0 {
		t.Error("the archive does not say what it guards against")
	}
	var environment []string
	said, answered := new(queue[standin.Turn]), new(queue[standin.Reply])
	b := &box{
		bedrock: &standin.Bedrock{Script: func(int, standin.ConverseRequest) standin.Turn { return said.next(t, "the model was asked") }},
		gateway: &standin.Gateway{OnCall: func(standin.Call) standin.Reply { return answered.next(t, "a tool was called") }},
	}
	var replies []txtar.File // the archive as it would be with the replies of today
	for i, section := range archive.Files {
		if section.Name != "reply" {
			replies = append(replies, section)
		}
		switch section.Name {
		case "environment":
			environment = strings.Fields(string(section.Data))
		case "model":
			said.add(decodeLines[standin.Turn](t, section.Data)...)
		case "tool":
			answered.add(standin.Reply{Text: string(bytes.TrimSpace(section.Data))})
		case "gateway":
			answered.add(decodeLines[standin.Reply](t, section.Data)...)
		case "request":
			if b.url == "" {
				start(t, b, environment...)
			}
			got := b.reply(string(section.Data))
			replies = append(replies, txtar.File{Name: "reply", Data: []byte(got)})
			want := ""
			if i+1 < len(archive.Files) && archive.Files[i+1].Name == "reply" {
				want = string(archive.Files[i+1].Data)
			}
			if diff := cmp.Diff(want, got); diff != "" && !*update {
				t.Errorf("%s: the reply to request %q differs (-want +got):\n%s", file, strings.SplitN(string(section.Data), "\n", 2)[0], diff)
			}
		case "reply":
		default:
			t.Fatalf("%s: unknown section %q", file, section.Name)
		}
	}
	if left := said.left() + answered.left(); left != 0 {
		t.Errorf("%d turns of the model and answers of tools were not used", left)
	}
	if *update && !t.Failed() {
		archive.Files = replies
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// queue hands out what the archive lists, in order.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
}

func (q *queue[T]) add(items ...T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(q.items, items...)
}

func (q *queue[T]) next(t *testing.T, what string) (item T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		t.Errorf("%s once more than the archive says", what)
		return item
	}
	item, q.items = q.items[0], q.items[1:]
	return item
}

func (q *queue[T]) left() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

func decodeLines[T any](t *testing.T, data []byte) []T {
	t.Helper()
	var items []T
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	for {
		var item T
		if err := decoder.Decode(&item); errors.Is(err, io.EOF) {
			return items
		} else if err != nil {
			t.Fatalf("%v in %s", err, data)
		}
		items = append(items, item)
	}
}

// person is a placeholder for a token in a request's header.
var person = regexp.MustCompile(`\{(\w+)\}`)

// measured is how long a tool call took, the one thing in a reply that is never the same twice.
var measured = regexp.MustCompile(`("type":"tool_result".*"duration_ms":)\d+`)

// reply sends a request as an archive writes it and returns the reply as an archive writes that.
func (b *box) reply(text string) string {
	b.t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	line, headers, _ := strings.Cut(head, "\n")
	method, path, found := strings.Cut(line, " ")
	if !found {
		b.t.Fatalf("not a request line: %q", line)
	}
	request, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(strings.TrimSuffix(body, "\n")))
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", sessionA)
	for header := range strings.Lines(headers) {
		name, value, _ := strings.Cut(strings.TrimSpace(header), ":")
		value = person.ReplaceAllStringFunc(strings.TrimSpace(value), func(name string) string { return token(strings.Trim(name, "{}")) })
		request.Header.Set(name, value)
		if value == "" {
			request.Header.Del(name)
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	var out strings.Builder
	fmt.Fprintf(&out, "%d %s\n", response.StatusCode, response.Header.Get("Content-Type"))
	for _, name := range []string{"Allow", "Cache-Control"} {
		if value := response.Header.Get(name); value != "" {
			fmt.Fprintf(&out, "%s: %s\n", name, value)
		}
	}
	out.WriteByte('\n')
	lines := bufio.NewReader(response.Body)
	for {
		line, err := lines.ReadString('\n')
		out.WriteString(measured.ReplaceAllString(line, "${1}0"))
		if errors.Is(err, io.EOF) {
			return strings.TrimRight(out.String(), "\n") + "\n"
		} else if err != nil {
			b.t.Fatal(err)
		}
	}
}
