package e2e_test

import (
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// callbackPort is held by who signs in with a browser: the app client allows one port alone.
var callbackPort sync.Mutex

// callback is where the browser comes back to.
const callback = "http://localhost:8976/callback"

// browser is somebody's browser, with the page that it shows.
type browser struct {
	t       *testing.T
	client  *http.Client
	address string
	page    string
}

// inBrowser runs a sign-in in a terminal, and visit in a browser at the address that the terminal shows. It returns what the
// terminal showed.
func inBrowser(t *testing.T, cmd *exec.Cmd, visit func(*browser)) (string, error) {
	t.Helper()
	callbackPort.Lock()
	defer callbackPort.Unlock()
	s := inTerminal(t, cmd)
	s.await("Sign in at this address:\r\n\r\n")
	address := s.await("\r\n")
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, client: &http.Client{Jar: jar}}
	b.open(address)
	visit(b)
	return s.end()
}

func (b *browser) do(request *http.Request) int {
	b.t.Helper()
	response, err := b.client.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.address, b.page = response.Request.URL.String(), string(page)
	return response.StatusCode
}

func (b *browser) open(address string) int {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(request)
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)

// signsIn fills in the form of the page.
func (b *browser) signsIn(username, password string) {
	b.t.Helper()
	form := url.Values{"username": {username}, "password": {password}}
	for _, field := range hiddenField.FindAllStringSubmatch(b.page, -1) {
		form.Set(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
	}
	if !strings.Contains(b.page, `name="username"`) || !strings.Contains(b.page, `name="password"`) {
		b.t.Fatalf("no form at %s:\n%s", b.address, b.page)
	}
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.address, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b.do(request)
}

// A person signs in at the user pool's pages: a wrong password first, and somebody else's page that sends the browser back with a
// code of its own. Then the client works as after a sign-in in the terminal.
func TestSignInWithBrowser(t *testing.T) {
	t.Parallel()
	stack := open(t)
	if address, err := url.Parse(stack.HostedUI); err != nil || address.Hostname() != "127.0.0.1" {
		t.Skipf("not on stack %s: the pages at %s are AWS's, and made for a browser with JavaScript", stack.Name, stack.HostedUI)
	}
	account := stack.pick(t, false)
	u := newUserOf(t, stack.Stack)
	shown, err := inBrowser(t, u.command("login", "--browser", "--no-open"), func(b *browser) {
		page := b.address
		b.signsIn(stack.Ops.Username, "Wrong-1-"+stack.Ops.Password)
		if !strings.Contains(b.page, "Incorrect username or password.") || !strings.HasPrefix(b.address, stack.HostedUI) {
			t.Errorf("after a wrong password, at %s:\n%s", b.address, b.page)
		}
		if status := b.open(callback + "?code=of-somebody-else&state=guessed"); status != http.StatusNotFound {
			t.Errorf("a return with another state is answered with %d", status)
		}
		b.open(page)
		b.signsIn(stack.Ops.Username, stack.Ops.Password)
		if !strings.HasPrefix(b.page, "You are signed in.") || !strings.HasPrefix(b.address, callback+"?") {
			t.Errorf("in the end, at %s:\n%s", b.address, b.page)
		}
	})
	if err != nil || !strings.Contains(shown, "Signed in to "+stack.Name+" as "+stack.Ops.Username+".") || strings.Contains(shown, "eyJ") || strings.Contains(shown, stack.Ops.Password) {
		t.Fatalf("%v\n%s", err, shown)
	}
	printed, status := u.run("whoami")
	if status != 0 || !strings.Contains(printed, stack.Ops.Username) || !strings.Contains(printed, account.Name) {
		t.Errorf("whoami: status %d\n%s", status, printed)
	}
	if printed, status := u.run("ask", "--quiet", "List EC2 instances in "+account.Name); status != 0 || !strings.Contains(printed, "1 of 1 target answered") {
		t.Errorf("ask: status %d\n%s", status, printed)
	}
	if stack.platform != nil {
		// The tokens are renewed and revoked like others.
		u.keep(u.tokens(), time.Now().Add(-time.Minute))
		if printed, status := u.run("accounts", "--list-only"); status != 0 || !strings.Contains(printed, account.Name) {
			t.Errorf("with a token at its end: status %d\n%s", status, printed)
		}
	}
	if printed, status := u.run("logout"); status != 0 {
		t.Errorf("logout: status %d\n%s", status, printed)
	}
}

// What the pages refuse is told at once, in a line: nobody waits for a browser that never comes back.
func TestSignInWithBrowserRefused(t *testing.T) {
	t.Parallel()
	u := newUser(t, platform(t))
	for name, row := range map[string]struct {
		args []string
		want []string
	}{
		"a port that the app client does not allow": {nil, []string{"does not allow http://localhost:", "(redirect_mismatch); try: --callback-port "}},
		"an app client that does not exist":         {[]string{"--client-id", "nobodys"}, []string{"invalid_request; try: centralops configure, "}},
		"pages that nobody serves":                  {[]string{"--hosted-ui", "http://127.0.0.1:1"}, []string{"connection refused; try: centralops configure, "}},
	} {
		printed, status := u.run(append([]string{"login", "--browser", "--no-open", "--callback-port", "0"}, row.args...)...)
		for _, want := range append(row.want, "centralops: sign in: ") {
			if status != 1 || strings.Count(printed, "\n") != 1 || !strings.Contains(printed, want) {
				t.Errorf("%s: status %d, want 1 and one line with %q:\n%s", name, status, want, printed)
			}
		}
	}
}

// The sample environment's app client is the one that Pulumi deploys, as e2e/pulumi reads it from the emulator.
func TestSampleClientIsTheDeployedOne(t *testing.T) {
	t.Parallel()
	p := platform(t)
	raw, err := os.ReadFile("pulumi/testdata/environment.json")
	if err != nil {
		t.Fatal(err)
	}
	var environment struct {
		Pools map[string]struct{ Clients map[string]map[string]any } `json:"pools"`
	}
	if err := json.Unmarshal(raw, &environment); err != nil {
		t.Fatal(err)
	}
	want := environment.Pools["central-ops-dev"].Clients["central-ops-dev-people"]
	if len(want) < 10 {
		t.Fatalf("pulumi/testdata/environment.json has no app client of people: %v", want)
	}
	delete(want, "HasSecret")
	made := cognito(t, p, "DescribeUserPoolClient", map[string]any{"UserPoolId": p.Stack.UserPoolID, "ClientId": p.Stack.ClientID})["UserPoolClient"].(map[string]any)
	got := map[string]any{}
	for name := range want {
		got[name] = made[name]
	}
	if diff := cmp.Diff(want, got); diff != "" || made["ClientSecret"] != nil {
		t.Errorf("the app client (-deployed +sample):\n%s", diff)
	}
}
