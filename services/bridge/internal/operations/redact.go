package operations

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/central-ops/central-ops/services/bridge/internal/operations/record"
)

// Redacted stands in an answer where a value was taken out.
const Redacted = "[redacted]"

// Redact returns document with the values that must not be shown replaced by Redacted, and how
// many there were; member names stay. document is an answer of the operation, or a part of it, as
// encoding/json decodes it; it is not changed. Redact must see the answer before any expression of
// the caller's does, because an expression can rename members.
//
// What is taken out, in this order:
//
//   - members that the rules of the service name: environment values, arguments, user data,
//     parameter values (gen/redact.txt), and what the models mark sensitive and is not a name, a
//     description or an address of a person;
//   - members of any service whose name says that they are a secret, unless the value is an ARN;
//   - parts of any other string that look like one: private keys in PEM, JSON Web Tokens, the
//     signature of a presigned URL, a password in a URL or connection string, well-known token
//     forms, and a 40-character secret next to an access key id.
//
// A string that is itself a JSON object or list (AWS Config and CloudTrail answer so) is treated
// in the same way. Unknown services get the rules that hold for every service and the last two; so
// do data reads, whose content was asked for by configuration (ssm:GetParameters answers with
// "Parameters", which in other answers of the service are the arguments of commands). It is a net below the refusals of Classify,
// not a reason to allow an operation.
func (t *Table) Redact(serviceName, operationName string, document any) (redacted any, fields int) {
	x := t.index()
	r := redactor{members: x.members}
	if i, ok := x.byName[record.Fold(serviceName)]; ok {
		s := t.services[i]()
		k, known := s.byName[record.Fold(operationName)]
		if !known || s.Operations[k].Category != CategoryData {
			r.members = s.members
		}
	}
	out := r.walk(make([]*member, 0, 32), document, false, 0)
	return out, r.fields
}

// rules are redaction rules, each a path of lower-case member names, matched against the end of a
// value's path in which lists do not count. "*" is any one member; "**" at the end of a rule is
// everything beneath.
type rules struct {
	leaf map[string][][]string // by last name: what stands before it
	any  map[string][][]string // rules that end in ".*", by the name before
	deep map[string][][]string // rules that end in ".**", by the name before
}

func parseRules(texts []string) *rules {
	r := &rules{leaf: map[string][][]string{}, any: map[string][][]string{}, deep: map[string][][]string{}}
	for _, t := range texts {
		path := strings.Split(t, ".")
		into := r.leaf
		switch n := len(path) - 1; path[n] {
		case "*":
			into, path = r.any, path[:n]
		case "**":
			into, path = r.deep, path[:n]
		}
		last := path[len(path)-1]
		into[last] = append(into[last], path[:len(path)-1])
	}
	return r
}

// member is what there is to know about members of one name.
type member struct {
	lower  string
	secret bool // see secretName
	// The rules that end in the name, each as what stands before it: for the member, for those
	// beneath it, for all beneath it.
	leaf, any, deep [][]string
}

// ends says whether path, whose last member one of the rules ends in, has what stands before that.
func ends(rules [][]string, path []*member) bool {
	for _, before := range rules {
		if len(before) < len(path) && stands(before, path[len(path)-1-len(before):]) {
			return true
		}
	}
	return false
}

func stands(before []string, path []*member) bool {
	for i, want := range before {
		if want != "*" && want != path[i].lower {
			return false
		}
	}
	return true
}

// members keeps what rules say about members by name as it is spelt: answers repeat few names often. It is
// safe for concurrent use.
type members struct {
	rules []*rules

	mu     sync.RWMutex
	byName map[string]*member
}

// maxMembers bounds the names that are kept: where an answer's keys are data, there is no end of them.
const maxMembers = 5000

func newMembers(all ...*rules) *members { return &members{rules: all, byName: map[string]*member{}} }

func (x *members) named(name string) *member {
	x.mu.RLock()
	m, ok := x.byName[name]
	x.mu.RUnlock()
	if ok {
		return m
	}
	m = &member{lower: strings.ToLower(name)}
	m.secret = secretName(m.lower)
	for _, rules := range x.rules {
		m.leaf = append(m.leaf, rules.leaf[m.lower]...)
		m.any = append(m.any, rules.any[m.lower]...)
		m.deep = append(m.deep, rules.deep[m.lower]...)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.byName) < maxMembers {
		x.byName[strings.Clone(name)] = m // name may be a part of a whole answer
	}
	return m
}

type redactor struct {
	members *members
	fields  int
}

// maxInner is how often JSON is looked for in a string within JSON in a string.
const maxInner = 3

// walk returns value without what is secret: value itself if there is nothing, else a copy of what
// holds it. all is whether everything from here on is secret. path is overwritten beyond its end.
func (r *redactor) walk(path []*member, value any, all bool, inner int) any {
	before := r.fields
	switch v := value.(type) {
	case map[string]any:
		pair := r.pair(v)
		var out map[string]any
		for name, item := range v {
			m, found := r.members.named(name), r.fields
			below := append(path, m)
			if pair && m.lower != "value" {
				item = r.walk(nil, item, false, inner)
			} else if s, ok := item.(string); ok && !all && secretKey(s) && namesKey(v) {
				r.fields++
				item = Redacted
			} else {
				item = r.walk(below, item, all || ends(m.deep, below), inner)
			}
			if r.fields == found {
				continue
			}
			if out == nil {
				out = maps.Clone(v)
			}
			out[name] = item
		}
		if out == nil {
			return value
		}
		return out
	case []any:
		var out []any
		for i, item := range v {
			found := r.fields
			item = r.walk(path, item, all, inner)
			if r.fields == found {
				continue
			}
			if out == nil {
				out = slices.Clone(v)
			}
			out[i] = item
		}
		if out == nil {
			return value
		}
		return out
	case nil:
		return nil
	case string:
		if all || r.secret(path, v) {
			return r.hide(v)
		}
		if out := r.text(path, v, inner); r.fields != before {
			return out
		}
		return value
	}
	if all || r.secret(path, "") {
		return r.hide(value)
	}
	return value
}

// pair says whether an object is a name with a value, as ECS and others list an environment: then
// only the value is secret.
func (r *redactor) pair(object map[string]any) bool {
	if len(object) > 3 {
		return false
	}
	var name, value bool
	for k, v := range object {
		if _, ok := v.(string); ok || v == nil {
			lower := r.members.named(k).lower
			name = name || lower == "name" || lower == "key"
			value = value || lower == "value"
		}
	}
	return name && value
}

// namesKey says whether a member of object holds an access key id.
func namesKey(object map[string]any) bool {
	for _, v := range object {
		if s, ok := v.(string); ok && hasAccessKeyID(s) {
			return true
		}
	}
	return false
}

func (r *redactor) hide(value any) any {
	if value == "" || value == Redacted {
		return value // nothing there, or done already
	}
	r.fields++
	return Redacted
}

// secret says whether the member at path is one to take out.
func (r *redactor) secret(path []*member, value string) bool {
	if len(path) == 0 {
		return false
	}
	last := path[len(path)-1]
	if ends(last.leaf, path) {
		return true
	}
	if above := path[:len(path)-1]; len(above) > 0 && ends(above[len(above)-1].any, above) {
		return true
	}
	return value != "" && last.secret && !strings.HasPrefix(value, "arn:")
}

// secretEndings are ends of member names, in lower case, that hold a secret in whatever service they
// appear. The names of page tokens, of references to secrets and of settings about them are not
// among them. A list and no regular expression, because every member of every answer is held to it.
var secretEndings = []string{
	"password", "passwd", "passphrase", "privatekey", "private_key", "secretkey", "secret_key", "secretaccesskey",
	"secretstring", "secretbinary", "sharedsecret", "clientsecret", "client_secret", "webhooksecret", "presharedkey",
	"authkey", "authtoken", "accesstoken", "access_token", "refreshtoken", "refresh_token", "idtoken", "jwttoken",
	"sessiontoken", "bearertoken", "securitytoken", "jointoken", "secrettoken", "apikeyvalue", "presignedurl",
	"presignedlogurl", "uploadpolicysignature", "connectionpassword", "base32stringseed",
}

// secretWords are like secretEndings, but only as words of their own: no letter a to z before them.
var secretWords = []string{"pwd", "psk"}

// secretName says whether a member of that name, in lower case, holds a secret.
func secretName(name string) bool {
	for _, ending := range secretEndings {
		if strings.HasSuffix(name, ending) {
			return true
		}
	}
	for _, word := range secretWords {
		before, found := strings.CutSuffix(name, word)
		if last := len(before) - 1; found && (last < 0 || before[last] < 'a' || before[last] > 'z') {
			return true
		}
	}
	return false
}

var (
	accessKeyID = regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`)
	longWord    = regexp.MustCompile(`[A-Za-z0-9/+]+`)
)

// secretKey says whether s has the form of a secret access key: 40 characters of base64 with
// letters of both kinds and a digit.
func secretKey(s string) bool {
	return len(s) == 40 && longWord.FindString(s) == s &&
		strings.ContainsAny(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && strings.ContainsAny(s, "abcdefghijklmnopqrstuvwxyz") && strings.ContainsAny(s, "0123456789")
}

// hasAccessKeyID says whether s holds an access key id; what cannot is told without the expression.
func hasAccessKeyID(s string) bool {
	return len(s) >= 20 && (strings.Contains(s, "AKIA") || strings.Contains(s, "ASIA")) && accessKeyID.MatchString(s)
}

// forms are what secrets look like inside a longer text; the first group of form, or all of it, is
// replaced. Most strings hold none, so a text is searched for form only if it holds one of the signs
// and one of the words: signs are single characters, looked for all at once, and words are in lower
// case if the form takes any. A word leaves out s, which (?i) takes for a long s as well.
var forms = []struct {
	signs sign
	fold  bool // words are looked for in the text in lower case
	words []string
	form  *regexp.Regexp
}{
	{dash, false, []string{"PRIVATE KEY"}, regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----)?`)},
	{dot, false, []string{"eyJ"}, regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`)},
	{equals, true, []string{"ignature=", "oken=", "credential="}, regexp.MustCompile(`(?i)[?&](?:X-Amz-Signature|X-Amz-Security-Token|X-Amz-Credential|Signature)=([^&\s"'<>]+)`)},
	{at, false, []string{"://"}, regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@"']*:([^\s/@"']+)@`)},
	{equals | colon, true, []string{"word", "wd", "ecret", "oken", "api"}, regexp.MustCompile(`(?i)\b(?:password|passwd|pwd|secret_?access_?key|aws_?session_?token|client_?secret|auth_?token|access_?token|api_?key)["']?\s*[=:]\s*["']?([^\s;&,"'}]{4,})`)},
	{dash | underscore, false, []string{"gh", "github_pat_", "xox", "glpat-", "sk_live_"}, regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|xox[abeprs]-[A-Za-z0-9-]{10,}|glpat-[A-Za-z0-9_-]{16,}|sk_live_[A-Za-z0-9]{16,})`)},
}

// sign is a set of characters that secrets of some form have.
type sign byte

const (
	dash sign = 1 << iota
	dot
	equals
	at
	colon
	underscore
)

var signs = [256]sign{'-': dash, '.': dot, '=': equals, '@': at, ':': colon, '_': underscore}

// text takes secrets out of a string that is not one as a whole.
func (r *redactor) text(path []*member, s string, inner int) string {
	if len(s) < 12 {
		return s
	}
	if s[0] == '{' || s[0] == '[' {
		if out, ok := r.json(path, s, inner); ok {
			return out
		}
	}
	var found sign
	for i := range len(s) {
		found |= signs[s[i]]
	}
	lower := ""
	for _, f := range forms {
		if found&f.signs == 0 {
			continue
		}
		within := s
		if f.fold {
			if lower == "" {
				lower = strings.ToLower(s)
			}
			within = lower
		}
		if containsAny(within, f.words) {
			s = r.replace(s, f.form)
		}
	}
	if hasAccessKeyID(s) {
		s = longWord.ReplaceAllStringFunc(s, func(word string) string {
			if secretKey(word) {
				r.fields++
				return Redacted
			}
			return word
		})
	}
	return s
}

func containsAny(s string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}

// json redacts a string that holds a JSON object or list; ok is false if it does not. The string
// is returned as it was unless something was taken out.
func (r *redactor) json(path []*member, s string, inner int) (out string, ok bool) {
	if inner >= maxInner {
		return "", false
	}
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil || d.More() {
		return "", false
	}
	before := r.fields
	doc = r.walk(path, doc, false, inner+1)
	if r.fields == before {
		return s, true
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return Redacted, true
	}
	return strings.TrimSuffix(buf.String(), "\n"), true
}

// replace puts Redacted in the place of every match of form: of its first group if it has one.
func (r *redactor) replace(s string, form *regexp.Regexp) string {
	var out strings.Builder
	end := 0
	for _, m := range form.FindAllStringSubmatchIndex(s, -1) {
		from, to := m[0], m[1]
		if len(m) > 2 {
			from, to = m[2], m[3]
		}
		if s[from:to] == Redacted {
			continue
		}
		out.WriteString(s[end:from])
		out.WriteString(Redacted)
		end = to
		r.fields++
	}
	out.WriteString(s[end:])
	return out.String()
}
