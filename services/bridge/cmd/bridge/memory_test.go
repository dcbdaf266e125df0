package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// TestLargeAnswersFitIntoMemory: the answers of all accounts come at once and are, together, more than the function's memory.
func TestLargeAnswersFitIntoMemory(t *testing.T) {
	t.Parallel()
	for name, sized := range map[string]bool{"of known length": true, "of unknown length": false} {
		t.Run(name, func(t *testing.T) { largeAnswers(t, sized) })
	}
}

func largeAnswers(t *testing.T, sized bool) {
	const accounts, rows, memoryMB = 64, 1600, 128
	var list []string
	for i := range accounts {
		list = append(list, fmt.Sprintf(`{"id":"%012d","name":"n%d"}`, i+1, i))
	}
	b := start(t, "TARGET_ACCOUNTS=["+strings.Join(list, ",")+"]", fmt.Sprint("AWS_LAMBDA_FUNCTION_MEMORY_SIZE=", memoryMB))
	row := `{"InstanceId":"i-row","State":{"Code":16,"Name":"running"},"Tags":[{"Key":"Name","Value":"x"}],"Pad":"` + strings.Repeat("x", 400) + `"}`
	structured := `{"status":"success","return_value":{"regions":{"us-east-1":{"document":{"Reservations":[{"Instances":[` +
		strings.Repeat(row+",", rows-1) + row + `]}]},"calls":1,"more":false}},"enabled":null},"api_calls":[]}`
	text, err := json.Marshal(structured)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Add(accounts)
	b.mcp.set(func(m *fakeMCP) {
		m.fault = func(w http.ResponseWriter, _ *http.Request, id int64, _ scriptRun) bool {
			all.Done()
			all.Wait()
			body := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":%s}],"structuredContent":%s,"isError":false}}`, id, text, structured)
			w.Header().Set("Content-Type", "application/json")
			if sized {
				w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			}
			_, _ = io.WriteString(w, body)
			return true
		}
	})
	got := b.call(b.token("ops"), "query", `{"accounts":["all"],"service":"ec2","operation":"DescribeInstances"}`)
	if got.Coverage.Answered != accounts || got.Results[accounts-1].Count != rows {
		t.Errorf("coverage %+v (%+v), %+v", got.Coverage, got.Error, got.Notes)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	peak, err := strconv.Atoi(regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(string(status))[1])
	if err != nil {
		t.Fatal(err)
	}
	if peak > memoryMB<<10 {
		t.Errorf("the bridge took %d MB of the function's %d", peak>>10, memoryMB)
	}
}
