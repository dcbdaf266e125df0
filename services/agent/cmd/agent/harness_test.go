package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/central-ops/central-ops/services/agent/internal/standin"
)

// binary is the agent's true binary, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		directory, err := os.MkdirTemp("", "agent-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(directory)
		binary = filepath.Join(directory, "agent")
		build := exec.Command("go", "build", fmt.Sprintf("-race=%v", raced), "-o", binary, ".")
		if output, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the agent: %v\n%s", err, output)
			return 1
		}
		return m.Run()
	}())
}

// box is one running agent with its stand-ins.
type box struct {
	t       *testing.T
	url     string
	bedrock *standin.Bedrock
	gateway *standin.Gateway
	vault   *standin.Identity
	logs    *lockedBuffer
	process *exec.Cmd
	exited  chan struct{}
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// queryTool is the tool that most stories need.
var queryTool = standin.Tool{
	Name: "bridge___query", Description: "one read operation over accounts and Regions",
	InputSchema: map[string]any{"type": "object", "properties": map[string]any{"accounts": map[string]any{"type": "array", "items": map[string]any{"type": "string"}}}},
}

const secretKey = "SECRETKEYTHATMUSTNOTBELOGGED"

// start runs the agent against the stand-ins. What is nil of them gets a default: a Gateway with
// queryTool that answers fullAnswer, and a model that fails the test when it is asked. environment
// overrides the defaults.
func start(t *testing.T, b *box, environment ...string) *box {
	t.Helper()
	b.t = t
	if b.gateway == nil {
		b.gateway = &standin.Gateway{}
	}
	if b.gateway.Tools == nil {
		b.gateway.Tools = []standin.Tool{queryTool}
	}
	if b.gateway.OnCall == nil {
		b.gateway.OnCall = func(standin.Call) standin.Reply { return standin.Reply{Text: fullAnswer} }
	}
	if b.bedrock == nil {
		b.bedrock = &standin.Bedrock{}
	}
	if b.bedrock.Script == nil {
		b.bedrock.Script = func(int, standin.ConverseRequest) standin.Turn {
			t.Error("the model was asked")
			return standin.Turn{Blocks: []standin.Block{standin.Text("unexpected")}}
		}
	}
	if b.vault == nil {
		b.vault = &standin.Identity{OnToken: func(int, standin.TokenRequest) string { return "" }}
	}
	serve := func(handler http.Handler) string {
		server := httptest.NewServer(handler)
		t.Cleanup(func() {
			server.CloseClientConnections() // a scripted hang must not outlive its test
			server.Close()
		})
		return server.URL
	}
	b.logs = new(lockedBuffer)
	b.process = exec.Command(binary)
	b.process.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PORT=0", "LOG_LEVEL=debug",
		"GORACE=atexit_sleep_ms=0", // of a binary built with -race, which would else end a second late
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=" + secretKey, "AWS_EC2_METADATA_DISABLED=true",
		"GATEWAY_URL=" + serve(b.gateway), "AWS_ENDPOINT_URL_BEDROCK_RUNTIME=" + serve(b.bedrock), "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE=" + serve(b.vault),
	}, environment...)
	stdout, err := b.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	b.process.Stderr = b.logs
	if err := b.process.Start(); err != nil {
		t.Fatal(err)
	}
	b.exited = make(chan struct{})
	address := make(chan string, 1)
	go func() {
		defer close(b.exited)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			fmt.Fprintln(b.logs, lines.Text())
			var line struct{ Msg, Address string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "agent listening" {
				address <- line.Address
			}
		}
		_ = b.process.Wait() // its state says the rest
	}()
	select {
	case listening := <-address:
		b.url = "http://127.0.0.1" + listening[strings.LastIndex(listening, ":"):]
	case <-b.exited:
		t.Fatalf("the agent did not start:\n%s", b.logs)
	}
	t.Cleanup(func() {
		b.stop()
		for _, violations := range [][]string{b.bedrock.Violations(), b.gateway.Violations(), b.vault.Violations()} {
			for _, violation := range violations {
				t.Errorf("protocol violation: %s", violation)
			}
		}
		if strings.Contains(b.logs.String(), "DATA RACE") {
			t.Error("the agent has a data race")
		}
		if t.Failed() {
			t.Logf("log of the agent:\n%s", b.logs)
		}
	})
	return b
}

// stop ends the agent and waits for it.
func (b *box) stop() {
	_ = b.process.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	<-b.exited
}

// expiry is the same for all tokens, so that the same person's are equal.
var expiry = time.Now().Add(time.Hour)

// token is an unsigned access token for a subject.
func token(subject string) string { return tokenUntil(subject, expiry) }

func tokenUntil(subject string, end time.Time) string {
	encode := base64.RawURLEncoding.EncodeToString
	claims := fmt.Sprintf(`{"sub":%q,"username":%q,"token_use":"access","exp":%d}`, subject, subject, end.Unix())
	return encode([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + encode([]byte(claims)) + "." + encode([]byte("signature"))
}

// sessionA is the session that most stories use.
const sessionA = "session-a-0123456789-0123456789-0123456789"

// request is an invocation of the agent with body, by alice in sessionA unless headers say otherwise.
func (b *box) request(ctx context.Context, body string, headers ...string) *http.Request {
	b.t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+"/invocations", strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/octet-stream")
	request.Header.Set("Authorization", "Bearer "+token("alice"))
	request.Header.Set("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", sessionA)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			request.Header.Del(headers[i])
		}
	}
	return request
}

func prompt(text string) string {
	body, err := json.Marshal(map[string]string{"prompt": text})
	if err != nil {
		panic(err)
	}
	return string(body)
}

// answer is the JSON answer, or the done frame, or an error.
type answer struct {
	Response  string
	Coverage  map[string]int64
	Receipts  []map[string]any
	Usage     map[string]int64
	Turns     int
	ToolCalls int    `json:"tool_calls"`
	SessionID string `json:"session_id"`
	StoppedBy string `json:"stopped_by"`
	Error     struct{ Code, Message, Hint string }
}

// ask sends a prompt and returns the JSON answer.
func (b *box) ask(text string, headers ...string) answer {
	b.t.Helper()
	return b.send(prompt(text), headers...)
}

func (b *box) send(body string, headers ...string) answer {
	b.t.Helper()
	response, err := http.DefaultClient.Do(b.request(b.t.Context(), body, headers...))
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/json" {
		b.t.Fatalf("status %s, Content-Type %q; want 200 and JSON", response.Status, response.Header.Get("Content-Type"))
	}
	var got answer
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
		b.t.Fatal(err)
	}
	return got
}

// frame is one server-sent event.
type frame struct {
	Type                string
	Text                string
	ID, Name            string
	Input               json.RawMessage
	OK                  bool
	Coverage            map[string]int64
	Code, Message, Hint string
	answer
}

// stream is a running answer.
type stream struct {
	t      *testing.T
	body   io.ReadCloser
	lines  *bufio.Reader
	Frames []frame
}

func (b *box) stream(ctx context.Context, text string, headers ...string) *stream {
	b.t.Helper()
	response, err := http.DefaultClient.Do(b.request(ctx, prompt(text), append(headers, "Accept", "text/event-stream")...))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		b.t.Fatalf("status %s, Content-Type %q; want 200 and text/event-stream", response.Status, response.Header.Get("Content-Type"))
	}
	return &stream{t: b.t, body: response.Body, lines: bufio.NewReader(response.Body)}
}

// next reads one frame, false at the end.
func (s *stream) next() (frame, bool) {
	s.t.Helper()
	line, err := s.lines.ReadString('\n')
	if errors.Is(err, io.EOF) && line == "" {
		return frame{}, false
	}
	blank, _ := s.lines.ReadString('\n')
	data, found := strings.CutPrefix(line, "data: ")
	if !found || blank != "\n" {
		s.t.Fatalf("not a frame: %q %q", line, blank)
	}
	var got frame
	// The coverage of a tool_result and of done have the same name at two places of the struct.
	if err := json.Unmarshal([]byte(data), &got); err != nil {
		s.t.Fatalf("%v in %q", err, data)
	}
	if err := json.Unmarshal([]byte(data), &got.answer); err != nil {
		s.t.Fatalf("%v in %q", err, data)
	}
	s.Frames = append(s.Frames, got)
	return got, true
}

// all reads to the end and returns the text, and the types of the frames with runs of text as one.
func (s *stream) all() (text string, types []string, last frame) {
	s.t.Helper()
	for {
		got, ok := s.next()
		if !ok {
			break
		}
		last = got
	}
	for _, got := range s.Frames {
		text += got.Text
		if got.Type != "text" || len(types) == 0 || types[len(types)-1] != "text" {
			types = append(types, got.Type)
		}
	}
	return text, types, last
}

// turns is a script that answers with one turn after the other.
func turns(t *testing.T, script ...standin.Turn) func(int, standin.ConverseRequest) standin.Turn {
	return func(n int, _ standin.ConverseRequest) standin.Turn {
		if n >= len(script) {
			t.Errorf("the model was asked %d times, expected %d", n+1, len(script))
			return standin.Turn{Blocks: []standin.Block{standin.Text("unexpected")}}
		}
		return script[n]
	}
}

func say(pieces ...string) standin.Turn {
	return standin.Turn{Blocks: []standin.Block{standin.Text(pieces...)}}
}

func query(ids ...string) standin.Turn {
	var turn standin.Turn
	for _, id := range ids {
		turn.Blocks = append(turn.Blocks, standin.Use(id, "bridge___query",
			`{"accounts":["all"],"service":"ec2","operation":"DescribeInstances"}`))
	}
	return turn
}

const fullAnswer = `{"ok":true,"coverage":{"targets":2,"answered":2,"denied":0,"failed":0,"skipped":0},"results":[` +
	`{"account_id":"111111111111","account_name":"Central","region":"us-east-1","status":"ok","count":1,"data":[{"id":"i-1"}],"receipt":{"role_arn":"arn:aws:iam::111111111111:role/CentralOpsTargetRole","source_identity":"alice","operation":"ec2:DescribeInstances","api_calls":1,"duration_ms":12}},` +
	`{"account_id":"222222222222","account_name":"Production","region":"us-east-1","status":"ok","count":0,"data":[],"receipt":{"role_arn":"arn:aws:iam::222222222222:role/CentralOpsTargetRole","source_identity":"alice","operation":"ec2:DescribeInstances","api_calls":1,"duration_ms":15}}]}`
