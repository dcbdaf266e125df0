package awsmcp

import (
	"syscall"
	"testing"

	"github.com/central-ops/central-ops/e2e/local/issued"
	"github.com/central-ops/central-ops/e2e/local/motoenv"
)

// A process that somebody else ended while it was idle costs nobody a script.
func TestIdleProcessThatWasKilled(t *testing.T) {
	t.Parallel()
	p := newPool(motoenv.Python(t), "http://127.0.0.1:1", 1)
	t.Cleanup(p.close)
	s := script{code: "1 + 1", region: "us-east-1", caller: issued.Credential{}}
	for range 2 {
		if _, err := p.run(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		idle := <-p.slots
		if err := syscall.Kill(idle.cmd.Process.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-idle.ended
		p.slots <- idle
	}
}
