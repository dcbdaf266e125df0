package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestChat(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	c.dir = t.TempDir()
	s := c.start(100, "chat")
	s.wait("/help lists commands")
	s.wait("> ")
	s.send("what runs?\r")
	s.wait("That is all.")
	s.wait("2 of 3 targets answered")
	s.wait("\n> ")

	s.send("\x1b[A\r") // arrow up: the same question again
	s.wait("That is all.")
	s.wait("\n> ")

	s.send("/acc\t\r") // completed
	s.wait("CentralOpsTargetRole")
	s.wait("\n> ")

	s.send("/export talk.md\r")
	s.wait("Written to talk.md")
	s.wait("\n> ")
	s.send("/export talk.json\r")
	s.wait("Written to talk.json")
	s.wait("\n> ")
	s.send("/export talk.csv\r")
	s.wait("Written to talk.csv")
	s.wait("\n> ")
	s.send("/export talk.md\r") // never overwrites
	s.wait("file exists; try: another file name")
	s.wait("\n> ")
	s.send("/export talk.pdf\r")
	s.wait("must end in .md, .json or .csv")
	s.wait("\n> ")
	s.send("/frob\r")
	s.wait("there is no command /frob; try: /help")
	s.wait("\n> ")

	s.send("/new\r")
	s.wait("New session centralops-")
	s.wait("\n> ")
	s.send("again?\r")
	s.wait("That is all.")
	s.wait("\n> ")
	s.send("half a li\x03") // Ctrl-C at the prompt drops the line
	s.wait("Ctrl-D or /quit ends the chat.")
	s.wait("\n> ")
	s.send("\x04")
	if status, _ := s.end(); status != 0 {
		t.Errorf("status %d, want 0", status)
	}

	asked := d.asked()
	if len(asked) != 3 || asked[1].Prompt != "what runs?" || asked[0].Session != asked[1].Session || asked[2].Session == asked[0].Session || asked[2].Prompt != "again?" {
		t.Errorf("the Runtime was asked %+v", asked)
	}
	checkExports(t, c.dir)

	history := filepath.Join(c.home, ".config", "centralops", "history", "local")
	info, err := os.Stat(history)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("history has mode %v", info.Mode())
	}
	s = c.start(100, "chat") // another chat knows the lines of this one
	s.wait("> ")
	s.send("\x1b[A")
	s.wait("again?")
	s.send("\x03")
	s.wait("\n> ")
	s.send("/quit\r")
	s.end()
}

func checkExports(t *testing.T, dir string) {
	t.Helper()
	read := func(name string) string {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	if text := read("talk.md"); strings.Count(text, "## what runs?") != 2 || strings.Count(text, oneTablePlain) != 2 {
		t.Errorf("talk.md:\n%s", text)
	}
	if text := read("talk.csv"); !strings.Contains(text, "'=HYPERLINK(1)") {
		t.Errorf("talk.csv:\n%s", text)
	}
	var talk struct {
		Exchanges []struct {
			Question string
			Answer   struct {
				Receipts []any
			}
		}
	}
	if err := json.Unmarshal([]byte(read("talk.json")), &talk); err != nil {
		t.Fatal(err)
	}
	if len(talk.Exchanges) != 2 || len(talk.Exchanges[1].Answer.Receipts) != 3 {
		t.Errorf("talk.json: %+v", talk)
	}
}

// Ctrl-C cancels the question at the server too, and the chat goes on in the same session.
func TestChatInterrupt(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	gone := make(chan struct{})
	d.answer = func(w http.ResponseWriter, r *http.Request) {
		stream(w, `{"type":"text","text":"I think "}`)
		<-r.Context().Done()
		close(gone)
	}
	c := signedInCLI(t, d)
	s := c.start(100, "chat")
	s.wait("> ")
	s.send("slow?\r")
	s.wait("I think")
	s.send("\x03")
	s.wait("cancelled")
	<-gone
	s.wait("\n> ")
	state.Lock()
	d.answer = func(w http.ResponseWriter, _ *http.Request) { stream(w, complete...) }
	state.Unlock()
	s.send("quick?\r")
	s.wait("Yes.")
	s.wait("\n> ")
	s.send("\x04")
	if status, _ := s.end(); status != 0 {
		t.Errorf("status %d, want 0", status)
	}
}

// What is pasted is one question with what was typed before it, however its lines end, and one line of the history.
func TestChatPaste(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.answer = func(w http.ResponseWriter, _ *http.Request) { stream(w, complete...) }
	c := signedInCLI(t, d)
	s := c.start(100, "chat")
	long := strings.Repeat("abcdefghi ", 500) + "end"
	for typed, want := range map[string]string{
		"why: \x1b[200~one\ntwo\x1b[201~\r":              "why: one two",
		"\x1b[200~one\r\ntwo\r\n\x1b[201~ three\r":       "one two  three",
		"\x1b[200~one\rtwo\x1b[201~\r":                   "one two",
		"\x1b[200~one\x03two\x1b[201~\r":                 "onetwo",
		"\x1b[200~" + long + "\x1b[201~\r":               long,
		"\x1b[200~one\x1b[201~\x1b[200~\ntwo\x1b[201~\r": "one two",
	} {
		s.wait("> ")
		s.send(typed)
		s.wait("Yes.")
		s.wait("\n")
		if asked := d.asked(); asked[len(asked)-1].Prompt != want {
			t.Errorf("%.80q was asked as %.80q, want %.80q", typed, asked[len(asked)-1].Prompt, want)
		}
	}
	if n := len(d.asked()); n != 6 {
		t.Errorf("%d questions were asked, want 6", n)
	}
	s.wait("> ")
	s.send("\x04")
	s.end()
}

// Of a paste whose end gets lost Ctrl-C, pressed by itself, is the way out.
func TestChatPasteWithoutEnd(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.answer = func(w http.ResponseWriter, _ *http.Request) { stream(w, complete...) }
	s := signedInCLI(t, d).start(100, "chat")
	s.wait("> ")
	s.send("\x1b[200~one\rtwo")
	s.wait("two")
	s.send("\x03")
	s.wait("Ctrl-D or /quit ends the chat.")
	s.wait("> ")
	s.send("three\r")
	s.wait("Yes.")
	s.wait("> ")
	s.send("\x04")
	s.end()
	if asked := d.asked(); len(asked) != 1 || asked[0].Prompt != "three" {
		t.Errorf("asked %+v, want the last line alone", asked)
	}
}

// A line of which not all can be read is not asked.
func TestChatLongLine(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	s := signedInCLI(t, d).start(100, "chat")
	s.wait("> ")
	s.send(strings.Repeat("x", 5000) + "\r")
	s.wait("fewer than 4096 characters; nothing was sent; try: the text pasted as a whole")
	s.wait("> ")
	s.send("\x04")
	s.end()
	if asked := d.asked(); len(asked) != 0 {
		t.Errorf("%d questions were asked", len(asked))
	}
}

// A terminal that knows no escape sequences gets none.
func TestChatInADumbTerminal(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	c.env = append(c.env, "TERM=dumb")
	s := c.start(100, "chat")
	s.wait("> ")
	s.send("what runs?\r")
	s.wait("That is all.")
	s.wait("> ")
	s.send("\x04")
	if _, text := s.end(); strings.Contains(text, "\x1b") {
		t.Errorf("the terminal got %q", text)
	}
}

func TestChatNeedsATerminal(t *testing.T) {
	t.Parallel()
	if got := newCLI(t).run("chat"); got.status != 2 || !strings.Contains(got.stderr, "chat needs a terminal; try: centralops ask <question>") {
		t.Errorf("chat in a pipe: %+v", got)
	}
}

// A history that can't be read costs the earlier lines, not the chat.
func TestChatWithoutHistory(t *testing.T) {
	t.Parallel()
	c := signedInCLI(t, newDeployment(t))
	if err := os.MkdirAll(filepath.Join(c.home, ".config", "centralops", "history", "local"), 0o700); err != nil { // a folder where the file would be
		t.Fatal(err)
	}
	s := c.start(100, "chat")
	s.wait("> ")
	s.send("what runs?\r")
	s.wait("That is all.")
	s.wait("\n> ")
	s.send("/quit\r")
	if status, text := s.end(); status != 0 {
		t.Errorf("status %d:\n%s", status, text)
	}
}

// A question whose token expired keeps what was answered before; with a token in the environment nobody is sent to sign in.
func TestChatKeepsWhatCameBeforeAnError(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	c := signedInCLI(t, d)
	c.dir = t.TempDir()
	d.answer = func(w http.ResponseWriter, _ *http.Request) { stream(w, expires...) }
	given, _ := d.signedIn()["AuthenticationResult"].(map[string]any)["AccessToken"].(string)
	c.env = append(c.env, "CENTRALOPS_ACCESS_TOKEN="+given+"\n") // as read from a file
	s := c.start(200, "chat")
	s.wait("> ")
	s.send("what runs?\r")
	s.wait("your token has expired: the Gateway did not accept it (401); try: another token in CENTRALOPS_ACCESS_TOKEN, or unset it and centralops login")
	s.wait("\n> ")
	s.send("/export talk.json\r")
	s.wait("Written to talk.json")
	s.wait("\n> ")
	s.send("\x04")
	s.end()
	raw, err := os.ReadFile(filepath.Join(c.dir, "talk.json"))
	if err != nil {
		t.Fatal(err)
	}
	var talk struct {
		Exchanges []struct {
			Answer struct {
				Response string
				Receipts []any
			}
			Error struct{ Code, Hint string }
		}
	}
	if err := json.Unmarshal(raw, &talk); err != nil {
		t.Fatal(err)
	}
	if len(talk.Exchanges) != 1 || !strings.HasPrefix(talk.Exchanges[0].Answer.Response, "I ask all accounts.") || len(talk.Exchanges[0].Answer.Receipts) != 1 ||
		talk.Exchanges[0].Error.Code != "unauthenticated" || !strings.HasPrefix(talk.Exchanges[0].Error.Hint, "another token") {
		t.Errorf("the export: %s", raw)
	}
}
