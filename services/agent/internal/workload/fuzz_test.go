package workload

import (
	"testing"
	"time"
)

// FuzzExpiry holds that a token, whatever it is, has an end that a clock can show.
func FuzzExpiry(f *testing.F) {
	for _, token := range []string{"", "a.b.c", "e30.e30.e30", "e30.eyJleHAiOjE3OTAwMDAwMDB9.c", "e30.eyJleHAiOjFlOTl9.c", "e30.eyJleHAiOi0xfQ==.c", "e30.bnVsbA.c"} {
		f.Add(token)
	}
	now := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, token string) {
		if end := expiry(token, now); end.Unix() < 0 || end.Unix() > 1<<40 {
			t.Errorf("%q ends at %v", token, end)
		}
	})
}
