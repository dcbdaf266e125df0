package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/central-ops/central-ops/e2e/local/bedrock"
	"github.com/central-ops/central-ops/e2e/local/issued"
)

// operator measures the agent's binary between a model that has its answers ready and a Gateway that has the bridge's.
type operator struct {
	binary    string
	tools     string // services/bridge/tools.json
	authority *authority
	pool      *pool
	token     string
	traces    *collector
	log       io.Writer
}

// container is one running agent with what it calls.
type container struct {
	process *exec.Cmd
	exited  chan struct{}
	url     string
	client  *http.Client
	token   string

	model   *actor
	prompts *recorder
	runtime *service // Bedrock's runtime
	gateway *service
}

// start starts an agent and waits until it answers /ping.
func (o *operator) start(ctx context.Context) (*container, error) {
	tools, err := gatewayTools(o.tools)
	if err != nil {
		return nil, err
	}
	own := issued.Credential{
		AccessKeyID: "ASIABENCHAGENT000000", SecretAccessKey: "benchmark-secret", SessionToken: "benchmark-session", Account: centralAccount,
		PrincipalARN: "arn:aws:sts::" + centralAccount + ":assumed-role/central-ops-agent/agent", PrincipalID: "AROABENCHAGENT:agent",
		RoleARN: "arn:aws:iam::" + centralAccount + ":role/central-ops-agent", SessionName: "agent",
	}
	store := issued.New()
	store.Add(own)
	c := &container{
		model: &actor{}, token: o.token, exited: make(chan struct{}),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}},
	}
	c.prompts = &recorder{next: bedrock.New(bedrock.Config{Model: c.model, Issued: store, Region: region})}
	if c.runtime, err = o.authority.serve(c.prompts, 0, nil); err != nil {
		return nil, err
	}
	if c.gateway, err = o.authority.serve(&toolServer{tools: tools, model: c.model}, 0, nil); err != nil {
		c.runtime.close()
		return nil, err
	}
	keys, err := o.authority.serve(o.pool, 0, nil)
	if err != nil {
		c.runtime.close()
		c.gateway.close()
		return nil, err
	}
	c.process = exec.Command(o.binary)
	c.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.process.Env = []string{
		"PORT=0", "AWS_REGION=" + region, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID=" + own.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + own.SecretAccessKey, "AWS_SESSION_TOKEN=" + own.SessionToken,
		"AWS_ENDPOINT_URL_BEDROCK_RUNTIME=" + c.runtime.URL, "GATEWAY_URL=" + c.gateway.URL + "/mcp", "GATEWAY_AUTH=user",
		"SSL_CERT_FILE=" + o.authority.bundle, "SSL_CERT_DIR=" + filepath.Dir(o.authority.bundle),
		"TOKEN_ISSUER=" + issuer, "TOKEN_CLIENT_IDS=" + clientID, "TOKEN_JWKS_URL=" + keys.URL + "/.well-known/jwks.json",
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + o.traces.URL,
	}
	c.process.Stderr = o.log
	stdout, err := c.process.StdoutPipe()
	if err == nil {
		err = c.process.Start()
	}
	if err != nil {
		c.runtime.close()
		c.gateway.close()
		keys.close()
		return nil, err
	}
	listening := make(chan string, 1)
	go func() {
		defer close(c.exited)
		defer keys.close()
		lines := bufio.NewReader(stdout)
		for {
			text, err := lines.ReadBytes('\n')
			if err != nil {
				break
			}
			var line struct{ Msg, Address string }
			if json.Unmarshal(text, &line) == nil && line.Msg == "agent listening" {
				listening <- line.Address
				break
			}
		}
		_, _ = io.Copy(io.Discard, lines) // its log: written, and thrown away here
		_ = c.process.Wait()              // "signal: killed" is what was asked for
	}()
	select {
	case address := <-listening:
		c.url = "http://127.0.0.1" + address[strings.LastIndexByte(address, ':'):]
	case <-c.exited:
		err = errors.New("the agent ended before it listened")
	case <-ctx.Done():
		err = fmt.Errorf("the agent does not listen: %w", ctx.Err())
	}
	if err == nil {
		err = c.ping(ctx)
	}
	if err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

func (c *container) stop() {
	_ = syscall.Kill(-c.process.Process.Pid, syscall.SIGKILL) // it may have ended by itself
	<-c.exited
	c.runtime.close()
	c.gateway.close()
	c.client.CloseIdleConnections()
}

func (c *container) ping(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/ping", nil)
	if err != nil {
		return err
	}
	response, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET /ping: %s", response.Status)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

func (c *container) invoke(ctx context.Context, session, prompt, accept string) (*http.Response, error) {
	body, err := json.Marshal(map[string]string{"prompt": prompt})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/invocations", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", accept)
	request.Header.Set("Authorization", "Bearer "+c.token)
	request.Header.Set("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", "benchmark-session-0123456789-0123456789-"+session)
	response, err := c.client.Do(request)
	if err == nil && response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("POST /invocations: %s", response.Status)
	}
	return response, err
}

// ask asks one question, which takes two turns with a tool call between them, and returns when it was asked and answered.
func (c *container) ask(ctx context.Context, session string) (began, ended time.Time, err error) {
	began = time.Now()
	response, err := c.invoke(ctx, session, "Which instances run in all accounts?", "application/json")
	if err != nil {
		return began, ended, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	ended = time.Now()
	if err != nil {
		return began, ended, err
	}
	var got struct {
		Turns    int
		Coverage struct{ Answered int }
		Error    json.RawMessage
	}
	if err := json.Unmarshal(text, &got); err != nil {
		return began, ended, err
	}
	if got.Error != nil || got.Turns != turns || got.Coverage.Answered != 3 {
		return began, ended, fmt.Errorf("want %d turns and 3 targets answered, got %.400s", turns, text)
	}
	return began, ended, nil
}

// turns is how many model turns the question of ask takes.
const turns = 2

func (o *operator) measure(ctx context.Context) ([]Row, error) {
	c, err := o.start(ctx)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	started, err := statusBytes(c.process.Process.Pid, "VmRSS")
	if err != nil {
		return nil, err
	}
	rows := []Row{{Part: "agent", Name: "idle memory, just started", Value: megabytes(started), Unit: "MB", Limit: new(30.0), Samples: 1, Note: "resident set"}}
	for _, part := range []func(context.Context, *container) ([]Row, error){o.turnOverhead, o.firstToken, o.sessions} {
		measured, err := part(ctx, c)
		if err != nil {
			return nil, err
		}
		rows = append(rows, measured...)
	}
	system, tools, err := c.prompts.sizes()
	if err != nil {
		return nil, err
	}
	return append(rows, Row{Part: "agent", Name: "system prompt and tool schemas", Value: float64(system+tools) / 4, Unit: "tokens", Limit: new(2500.0), Samples: 1,
		Note: fmt.Sprintf("bytes / 4: system %d bytes, toolConfig %d bytes of JSON, as sent to the model", system, tools)}), nil
}

// turnOverhead asks 5 questions in each of 30 sessions, one after the other.
func (o *operator) turnOverhead(ctx context.Context, c *container) ([]Row, error) {
	var perTurn []float64
	for i := range 150 {
		began, ended, err := c.ask(ctx, "overhead-"+strconv.Itoa(i/5))
		if err != nil {
			return nil, err
		}
		elsewhere := busy(append(c.runtime.take(), c.gateway.take()...), began, ended)
		perTurn = append(perTurn, milliseconds((ended.Sub(began)-elsewhere)/turns))
	}
	return []Row{
		{Part: "agent", Name: "overhead per turn, p50", Value: quantile(perTurn, 0.5), Unit: "ms", Limit: new(2.0), Samples: len(perTurn),
			Note: "without the model's and the Gateway's time; two turns and a tool call each"},
		{Part: "agent", Name: "overhead per turn, p99", Value: quantile(perTurn, 0.99), Unit: "ms", Samples: len(perTurn)},
	}, nil
}

// firstToken measures how long the first piece of text takes from the model's hands to the client's.
func (o *operator) firstToken(ctx context.Context, c *container) ([]Row, error) {
	const samples = 50
	var delays []float64
	for i := range samples {
		arrived, err := c.streamed(ctx, "stream-"+strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		delays = append(delays, milliseconds(arrived.Sub(c.model.spoke())))
	}
	return []Row{
		{Part: "agent", Name: "first token passed on, p50", Value: quantile(delays, 0.5), Unit: "ms", Limit: new(5.0), Samples: samples, Note: "from the model's writing to the client's reading"},
		{Part: "agent", Name: "first token passed on, p99", Value: quantile(delays, 0.99), Unit: "ms", Samples: samples},
	}, nil
}

// streamed asks for a streamed answer and returns when its first text was there.
func (c *container) streamed(ctx context.Context, session string) (arrived time.Time, err error) {
	response, err := c.invoke(ctx, session, streamingPrompt, "text/event-stream")
	if err != nil {
		return arrived, err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, found := strings.CutPrefix(lines.Text(), "data: ")
		if !found {
			continue
		}
		now := time.Now()
		var frame struct{ Type, Code, Message string }
		if err := json.Unmarshal([]byte(data), &frame); err != nil {
			return arrived, err
		}
		switch {
		case frame.Type == "text" && arrived.IsZero():
			arrived = now
		case frame.Type == "error":
			return arrived, fmt.Errorf("the stream ended with %s: %s", frame.Code, frame.Message)
		}
	}
	if arrived.IsZero() && lines.Err() == nil {
		return arrived, errors.New("the stream holds no text")
	}
	return arrived, lines.Err()
}

// sessions lets 50 sessions ask 3 questions each at once, with a model and a Gateway that take 100 ms each.
func (o *operator) sessions(ctx context.Context, c *container) ([]Row, error) {
	const sessions, questions = 50, 3
	c.model.setPace(100 * time.Millisecond)
	defer c.model.setPace(0)
	var mu sync.Mutex
	var failures []error
	var times []float64
	var all sync.WaitGroup
	for i := range sessions {
		all.Go(func() {
			for range questions {
				began, ended, err := c.ask(ctx, "load-"+strconv.Itoa(i))
				mu.Lock()
				if err != nil {
					failures = append(failures, err)
				} else {
					times = append(times, milliseconds(ended.Sub(began)))
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	note := "3 questions each; a model and a Gateway of 100 ms a call"
	if len(times) > 0 {
		note += fmt.Sprintf("; an answer took %.0f ms p50, %.0f ms at most", quantile(times, 0.5), slices.Max(times))
	}
	if len(failures) > 0 {
		note = fmt.Sprintf("the first error: %.200s", failures[0])
	}
	peak, err := statusBytes(c.process.Process.Pid, "VmHWM")
	if err != nil {
		return nil, err
	}
	return []Row{
		{Part: "agent", Name: "50 sessions at once, errors", Value: float64(len(failures)), Unit: "", Limit: new(0.0), Samples: sessions * questions, Note: note},
		{Part: "agent", Name: "50 sessions at once, peak memory", Value: megabytes(peak), Unit: "MB", Samples: 1},
	}, nil
}
