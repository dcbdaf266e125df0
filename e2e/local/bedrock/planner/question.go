package planner

import "encoding/json"

// Intent is what a question wants.
type Intent string

// Intents. Fragment is a question that only makes sense after another ("and in staging?").
const (
	Unknown       Intent = "unknown"
	Help          Intent = "help"
	Fragment      Intent = "fragment"
	Accounts      Intent = "accounts"
	Resources     Intent = "resources"
	Operation     Intent = "operation"
	Documentation Intent = "documentation"
	ReadPage      Intent = "read_page"
	Write         Intent = "write"
	Secret        Intent = "secret"
	Exclusion     Intent = "exclusion" // "not in prod", "except web-1": no rule can turn a condition around
)

// Verb is how resources are to be answered.
type Verb string

// Verbs. None asks which accounts have no such resource; Most and Fewest rank the accounts, or the groups if Group is set.
const (
	List   Verb = "list"
	Count  Verb = "count"
	Which  Verb = "which"
	Most   Verb = "most"
	Fewest Verb = "fewest"
	None   Verb = "none"
)

// Question is what the rules read in a text.
type Question struct {
	Intent  Intent
	Verb    Verb
	Kinds   []string   // ids of the table of kinds, in the order named
	Scope   []Selector // empty: no account was named
	Regions []string   // empty: none was named; "all" alone: every one
	Filter  Filter
	Group   string // what to count by: a field of the rows or of the targets; "" for no groups

	Search    string          // Documentation: what to look for; ReadPage: the URL; Accounts: the filter
	Service   string          // Operation
	Operation string          // Operation
	Params    json.RawMessage // Operation; nil when none were given
	Select    string          // Operation; JMESPath

	Unread []string // words that no rule could use, in order
	Cue    bool     // begins like a follow-up: "and", "what about" ...
	Shows  bool     // Fragment: asks to see what was counted before, as in "which of them are stopped?"
}

// Selector names accounts in the bridge's way. What is written may mean an environment or an account's name; the readings
// are tried in order until the bridge knows one.
type Selector struct {
	Text     string // as written
	Readings []string
}
