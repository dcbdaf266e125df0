package cognito

import (
	"strings"
	"testing"
)

// FuzzParseClaims holds that no token breaks the reader, and that no error repeats it.
func FuzzParseClaims(f *testing.F) {
	for _, token := range []string{"", "a.b.c", "e30.e30.e30", "eyJraWQiOiJrIn0.eyJzdWIiOiJhIiwiZXhwIjoxfQ.c", "e30.eyJzdWIiOjF9.c", "e30.eyJleHAiOjFlOTl9.c", "e30.bnVsbA.c", "...", "e30.eyJhdWQiOlsiYSJdfQ.c"} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		got, err := ParseClaims(token)
		if err == nil && strings.Count(token, ".") != 2 {
			t.Errorf("%q was read as %+v", token, got)
		}
		if err != nil && len(token) > 40 && strings.Contains(err.Error(), token) {
			t.Errorf("the error holds the token: %v", err)
		}
	})
}
