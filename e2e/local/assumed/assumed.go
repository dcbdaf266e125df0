// Package assumed is the table of what the local platform takes for granted about AWS.
//
// Every stand-in keeps its own rows next to the code that depends on them; the platform joins them into one
// table, so that a person with an account can check each row and know which stand-in to correct.
package assumed

// Row is one behaviour of AWS that a stand-in imitates without AWS having documented it.
type Row struct {
	ID     string // short and stable, e.g. "mcp-session-lost-status"
	Where  string // the stand-in that behaves so, e.g. "awsmcp"
	Assume string // the behaviour, in one sentence
	Source string // where it comes from, and how sure that is: documented, observed, inferred or unknown
	Check  string // how to confirm or refute it on a real account
}
