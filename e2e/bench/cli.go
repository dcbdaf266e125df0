package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// What the client may cost a person who waits: milliseconds, and megabytes of its file.
const (
	cliHelpLimit = 50.0
	cliAskLimit  = 50.0
	cliSizeLimit = 25.0
	cliRuns      = 30
)

// terminal measures the client's binary.
type terminal struct {
	binary string
	token  string
}

func (c *terminal) measure(ctx context.Context) ([]Row, error) {
	if err := exists(c.binary); err != nil {
		return nil, err
	}
	binary, err := filepath.Abs(c.binary)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(binary)
	if err != nil {
		return nil, err
	}
	help := make([]float64, cliRuns)
	for i := range help {
		began := time.Now()
		if err := exec.CommandContext(ctx, binary, "--help").Run(); err != nil {
			return nil, fmt.Errorf("centralops --help: %w", err)
		}
		help[i] = milliseconds(time.Since(began))
	}
	ask, err := c.ask(ctx, binary)
	if err != nil {
		return nil, err
	}
	return []Row{
		{Part: "cli", Name: "--help, whole process, p50", Value: quantile(help, 0.5), Unit: "ms", Limit: new(cliHelpLimit), Samples: cliRuns},
		{Part: "cli", Name: "--help, whole process, p99", Value: quantile(help, 0.99), Unit: "ms", Samples: cliRuns},
		{Part: "cli", Name: "ask: added to the server's first byte, p50", Value: quantile(ask, 0.5), Unit: "ms", Limit: new(cliAskLimit), Samples: cliRuns,
			Note: "process start to first byte of the answer, less the server's time"},
		{Part: "cli", Name: "ask: added to the server's first byte, p99", Value: quantile(ask, 0.99), Unit: "ms", Samples: cliRuns},
		{Part: "cli", Name: "binary", Value: megabytes(info.Size()), Unit: "MB", Limit: new(cliSizeLimit), Samples: 1},
	}, nil
}

// ask returns for each run how much later than the server could the client show the first byte of an answer.
func (c *terminal) ask(ctx context.Context, binary string) ([]float64, error) {
	var served atomic.Int64 // how long the server took to its first byte, in ns
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		came := time.Now()
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: {\"type\":\"text\",\"text\":\"One\"}\n\n")
		w.(http.Flusher).Flush()
		served.Store(int64(time.Since(came)))
		fmt.Fprint(w, "data: {\"type\":\"done\",\"session_id\":\"benchmark\"}\n\n")
	}))
	defer server.Close()
	home, err := os.MkdirTemp("", "central-ops-bench-cli")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(home) }() // a temporary directory
	profile, err := json.Marshal(map[string]string{
		"name": "benchmark", "region": region, "user_pool_id": region + "_Benchmark", "client_id": "benchmarkclient", "runtime_url": server.URL,
		"runtime_arn": "arn:aws:bedrock-agentcore:" + region + ":" + centralAccount + ":runtime/benchmark-0123456789", "gateway_url": server.URL + "/mcp",
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(home, "profile.json")
	if err := os.WriteFile(file, profile, 0o600); err != nil {
		return nil, err
	}
	added := make([]float64, cliRuns)
	for i := range added {
		command := exec.CommandContext(ctx, binary, "ask", "Count to one.")
		command.Env = []string{"CENTRALOPS_CONFIG_DIR=" + home, "CENTRALOPS_PROFILE_FILE=" + file, "CENTRALOPS_ACCESS_TOKEN=" + c.token}
		var stderr strings.Builder
		command.Stderr = &stderr
		stdout, err := command.StdoutPipe()
		if err != nil {
			return nil, err
		}
		began := time.Now()
		if err := command.Start(); err != nil {
			return nil, err
		}
		_, first := stdout.Read(make([]byte, 1))
		added[i] = milliseconds(time.Since(began) - time.Duration(served.Load()))
		if err := errors.Join(first, command.Wait()); err != nil {
			return nil, fmt.Errorf("centralops ask: %w: %s", err, stderr.String())
		}
	}
	return added, nil
}
