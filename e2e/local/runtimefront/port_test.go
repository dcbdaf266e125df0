package runtimefront

import (
	"net"
	"runtime"
	"strconv"
	"testing"
)

// A reserved port is handed out to nobody, and can be listened on.
func TestReservePort(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("a bound socket reserves its port on Linux")
	}
	port, release, err := reservePort()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for range 2 { // before and after somebody has listened there
		for range 20_000 { // of the some 14,000 that Linux hands out at random
			other, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if other.Addr().(*net.TCPAddr).Port == port {
				t.Error("the reserved port was handed out")
			}
			_ = other.Close()
		}
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			t.Fatalf("the reserved port can't be listened on: %v", err)
		}
		_ = listener.Close()
	}
}
