package planner

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

const (
	maxTableRows = 100 // of a table; counts stay complete
	maxCell      = 120 // characters
	maxReasons   = 20  // targets named as not answered
)

const partialSuffix = " **This is partial**: not everything could be asked, see below."

const signature = "_Answered by the offline planner: a small set of rules, not a language model._"

// sign says at the end of every answer who gave it.
func sign(answer string) string { return strings.TrimSpace(answer) + "\n\n" + signature }

const understood = `I understand questions like these:

- List EC2 instances in account 222222222222
- How many running instances are there in prod, in all Regions?
- S3 buckets, Lambda functions, RDS databases, IAM roles, VPCs ... in Production, in the staging environment, in all accounts
- Which security groups are open to the world?
- Which account has an instance named web-1? Which accounts have no databases? Which account has the most functions?
- How many instances are there by type, in all accounts?
- Which accounts may I query?
- And in staging? What about eu-west-1? (after another question)
- Documentation: how do I rotate access keys?
- Call ec2:DescribeVpcs in all accounts, all Regions (any read operation; also with {parameters} and select JMESPath)

Regions are named as in us-east-1, or by place (Ireland), or all.`

// withoutCalls answers what needs no tool.
func withoutCalls(q Question) string {
	switch q.Intent {
	case Help:
		return understood
	case Exclusion:
		return fmt.Sprintf("I can't leave anything out or turn a condition around (%s), so I asked nothing: a wrong answer would look like a right one. "+
			"Say what you want to see instead, for example “stopped instances in staging, eu-west-1”.", quoteList(q.Unread))
	case Write:
		return "Central Ops only reads: it never starts, stops, creates, changes or deletes anything, so I didn't try. Use your own tools with your own rights for a change. " +
			"I can list what is there, for example “list EC2 instances in prod”."
	}
	if q.Intent == Secret {
		return "Central Ops never reads secrets, passwords or credentials, whoever asks, so I didn't try. Their names can be listed: " +
			"“call secretsmanager:ListSecrets in prod”."
	}
	text := "I don't understand this question"
	if len(q.Unread) > 0 {
		text += " (" + quoteList(q.Unread) + ")"
	}
	switch {
	case q.Cue:
		text += ": it follows another, and there is none before it that I understood"
	case len(q.Scope) > 0 || len(q.Regions) > 0 || q.Filter != (Filter{}):
		names := "it says where to look, but no"
		if len(q.Scope) == 0 && len(q.Regions) == 0 {
			names = "it names no"
		}
		text += ": " + names + " kind of resource that I know. Any other is read by naming the operation, " +
			"for example “call elbv2:DescribeLoadBalancers in prod”"
	}
	return text + ".\n\n" + understood
}

// compose answers q from the results of its calls.
func compose(q Question, round Round) string {
	var parts []string
	if len(q.Unread) > 0 { // first, because it decides how the rest is to be taken
		parts = append(parts, fmt.Sprintf("I didn't understand %s and left it out; the answer may be wider than the question.", quoteList(q.Unread)))
	}
	for i, call := range round {
		if part := composeOne(q, i, call); !slices.Contains(parts, part) { // one error may be that of every call
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "\n\n")
}

func composeOne(q Question, i int, call Call) string {
	e := decode(call.Result)
	if e.Error == nil && call.Failed {
		e.Error = &failure{Code: "internal", Message: "the tool reported a failure"}
	}
	if e.Error != nil {
		return composeError(*e.Error)
	}
	switch q.Intent {
	case Accounts:
		return composeAccounts(q, e)
	case Documentation:
		return composeHits(q, e)
	case ReadPage:
		return composePage(q, e)
	case Operation:
		return composeOperation(q, e)
	}
	of := parts(q)
	p := of[min(i, len(of)-1)]
	if p.region != "" {
		q.Regions = []string{p.region}
	}
	return composeResources(q, p.kind, e)
}

func composeError(f failure) string {
	message := strings.TrimRight(clean(f.Message), ".")
	for _, op := range []string{"select accounts: ", "select regions: "} { // what the message says again
		message = strings.TrimPrefix(message, op)
	}
	text := fmt.Sprintf("That didn't work: %s (%s).", message, clean(f.Code))
	if f.Hint != "" {
		text += "\n\nHint: " + forPeople(f.Hint)
	}
	return text
}

// forPeople is a hint of the bridge's, which speaks to a model that has tools.
func forPeople(hint string) string {
	return strings.ReplaceAll(clean(hint), "list_accounts shows the accounts you may query", "“which accounts may I query?” lists yours")
}

// composeAccounts lists accounts as the bridge shows them to this person.
func composeAccounts(q Question, e envelope) string {
	accounts := objects(e.Raw, "id")
	if len(accounts) == 0 {
		accounts = objects(e.Raw, "account_id")
	}
	if len(accounts) == 0 {
		if q.Search != "" {
			return fmt.Sprintf("There is no account that you may query with %q in its id, name, environment or tags.", clean(q.Search))
		}
		return "There is no account that you may query. Ask whoever runs Central Ops to give one of your groups access."
	}
	var rows [][]string
	for _, a := range accounts {
		rows = append(rows, []string{cell(firstOf(a, "id", "account_id")), cell(firstOf(a, "name", "account_name")), cell(a["environment"]), cell(a["tags"])})
	}
	return fmt.Sprintf("You may query **%s**:\n\n%s", number(len(rows), "account", "accounts"),
		table([]string{"account", "name", "environment", "tags"}, rows))
}

func firstOf(m map[string]any, keys ...string) any {
	for _, k := range keys {
		if v, ok := m[k]; ok {
			return v
		}
	}
	return nil
}

// composeHits lists what a search found.
func composeHits(q Question, e envelope) string {
	hits := objects(e.Raw, "title")
	if len(hits) == 0 {
		hits = objects(e.Raw, "url")
	}
	if len(hits) == 0 {
		return fmt.Sprintf("The documentation search found nothing for “%s”.", clean(q.Search))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "The documentation search for “%s” found:\n", clean(q.Search))
	for _, hit := range hits {
		title, url, text := clean(scalar(hit["title"])), clean(scalar(hit["url"])), clean(scalar(hit["context"]))
		fmt.Fprintf(&b, "\n- **%s**", clip(title, maxCell))
		if url != "" {
			fmt.Fprintf(&b, " %s", clip(url, 300))
		}
		if text != "" {
			fmt.Fprintf(&b, "\n  %s", clip(text, 300))
		}
	}
	return b.String()
}

// composePage shows the beginning of a documentation page.
func composePage(q Question, e envelope) string {
	pages := objects(e.Raw, "content")
	for _, page := range pages {
		if text := scalar(page["content"]); text != "" {
			return fmt.Sprintf("The page %s begins:\n\n%s", q.Search, quote(clip(printable(text), pageCharacters)))
		}
	}
	return fmt.Sprintf("The page %s has no text that I could read.", q.Search)
}

// tally is what one account has, over its Regions.
type tally struct {
	name     string
	count    int
	answered bool // in every Region that was asked
	more     bool
}

// tallies sums targets by account, in the order of the answer.
func tallies(targets []target) []tally {
	var order []string
	byID := map[string]*tally{}
	for _, t := range targets {
		account := byID[t.AccountID]
		if account == nil {
			account = &tally{name: t.name(), answered: true}
			byID[t.AccountID] = account
			order = append(order, t.AccountID)
		}
		if t.Status != "ok" {
			account.answered = false
			continue
		}
		account.name = t.name()
		account.count += t.count()
		account.more = account.more || t.More
	}
	list := make([]tally, 0, len(order))
	for _, id := range order {
		list = append(list, *byID[id])
	}
	return list
}

// composeResources answers a question about one kind of resource.
func composeResources(q Question, k kind, e envelope) string {
	fields := k.fields
	filter, dropped := k.narrow(q.Filter)
	if k.id == "sg" && filter.Open {
		fields = append(fields[:len(fields):len(fields)], field{key: "open", title: "open to the world"})
	}
	many := describe(k, filter)
	accounts := tallies(e.Results)
	total, partial, atLeast := 0, e.Coverage.Answered < e.Coverage.Targets, false
	for _, a := range accounts {
		total += a.count
		atLeast = atLeast || a.more
	}

	var b strings.Builder
	if len(dropped) > 0 {
		fmt.Fprintf(&b, "I can't tell %s by %s, so this is about all of them.\n\n", k.many, quoteList(dropped))
	}
	if k.global && k.inRegion == "" && len(q.Regions) > 0 && q.Regions[0] != "all" {
		fmt.Fprintf(&b, "%s belong to no Region, so this is about all of them.\n\n", k.many)
	}
	if e.Coverage.Targets > 0 && e.Coverage.Answered == 0 {
		fmt.Fprintf(&b, "**Not known**: nothing that was asked about %s answered (%s).\n\n%s", many, where(q, k), composeCoverage(e, q, k))
		return b.String()
	}
	if len(e.Groups) > 0 && (q.Verb == Most || q.Verb == Fewest) {
		b.WriteString(headlineOfGroups(q, k, many, e.Groups, partial || atLeast))
	} else {
		b.WriteString(headline(q, k, many, accounts, total, partial || atLeast))
	}
	b.WriteString("\n")
	if len(accounts) > 1 && total > 0 {
		listed := accounts
		if q.Verb == Which { // not those that were looked at in vain
			listed = slices.DeleteFunc(slices.Clone(accounts), func(a tally) bool { return a.answered && a.count == 0 })
		}
		b.WriteString("\n" + perAccount(listed) + "\n")
	}
	if len(e.Groups) > 0 {
		var rows [][]string
		for _, g := range e.Groups {
			rows = append(rows, []string{cell(g.Key), fmt.Sprint(g.Count), fmt.Sprint(len(g.Accounts))})
		}
		b.WriteString("\n" + table([]string{"by " + strings.ReplaceAll(q.Group, "_", " "), "count", "accounts"}, rows) + "\n")
	} else if q.Group != "" && k.groupBy(q.Group) == "" {
		fmt.Fprintf(&b, "\nI can't count %s by %s, so they are not grouped.\n", k.many, strings.ReplaceAll(q.Group, "_", " "))
	}
	fields = slices.DeleteFunc(slices.Clone(fields), func(f field) bool { return f.key != fields[0].key && !filled(e.Results, f.key) })
	if rows := resourceRows(e.Results, fields, q.Verb == Count || len(e.Groups) > 0); len(rows) > 0 {
		header := []string{"account", "account id", "Region"}
		for _, f := range fields {
			header = append(header, f.title)
		}
		b.WriteString("\n" + table(header, rows) + "\n")
	}
	b.WriteString("\n" + composeCoverage(e, q, k))
	return b.String()
}

// filled tells whether any row has a value for key.
func filled(targets []target, key string) bool {
	for _, t := range targets {
		for _, data := range t.Data {
			var row map[string]any
			if json.Unmarshal(data, &row) == nil && scalar(row[key]) != "" {
				return true
			}
		}
	}
	return false
}

// describe puts the filter in front of and behind the name of a kind: "running EC2 instances named web-1". f is narrowed.
func describe(k kind, f Filter) string {
	text := k.many
	if f.Type != "" {
		text = strings.Trim(f.Type, "*.") + " " + text
	}
	if f.State != "" {
		text = f.State + " " + text
	}
	switch name := f.Name; {
	case name == "":
	case strings.HasPrefix(name, "*") && strings.HasSuffix(name, "*"):
		text += fmt.Sprintf(" with “%s” in the name", strings.Trim(name, "*"))
	case strings.HasSuffix(name, "*"):
		text += fmt.Sprintf(" whose names start with “%s”", strings.Trim(name, "*"))
	case strings.HasPrefix(name, "*"):
		text += fmt.Sprintf(" whose names end with “%s”", strings.Trim(name, "*"))
	default:
		text += fmt.Sprintf(" named “%s”", name)
	}
	switch {
	case f.ID == "":
	case k.within[idPrefix(f.ID)] != "":
		text += " of " + f.ID
	default:
		text += " with id " + f.ID
	}
	switch {
	case f.Open && k.id != "sg":
		text += " that are publicly accessible"
	case f.Port != 0:
		text += fmt.Sprintf(" open to the world at port %d", f.Port)
	case f.Open:
		text += " open to the world"
	}
	return clean(text)
}

// headline answers in one sentence, according to the verb.
func headline(q Question, k kind, many string, accounts []tally, total int, partial bool) string {
	answered := slices.DeleteFunc(slices.Clone(accounts), func(a tally) bool { return !a.answered && a.count == 0 })
	having := slices.DeleteFunc(slices.Clone(answered), func(a tally) bool { return a.count == 0 })
	scope := where(q, k)
	if total == 1 {
		many = strings.Replace(many, k.many, k.one, 1)
	}
	suffix := ""
	if partial {
		suffix = partialSuffix
	}
	switch q.Verb {
	case None:
		empty := slices.DeleteFunc(slices.Clone(accounts), func(a tally) bool { return a.count > 0 || !a.answered })
		if len(empty) == 0 {
			return fmt.Sprintf("Every account that answered has %s (%s).%s", many, scope, suffix)
		}
		return fmt.Sprintf("**%s** without %s (%s): %s.%s", number(len(empty), "account", "accounts"), many, scope, tallyNames(empty), suffix)
	case Most, Fewest:
		if len(answered) == 0 {
			return fmt.Sprintf("No account answered (%s).", scope)
		}
		if total == 0 {
			return fmt.Sprintf("No account has %s (%s).%s", many, scope, suffix)
		}
		best := answered[0].count
		for _, a := range answered {
			if q.Verb == Most {
				best = max(best, a.count)
			} else {
				best = min(best, a.count)
			}
		}
		winners := slices.DeleteFunc(slices.Clone(answered), func(a tally) bool { return a.count != best })
		return fmt.Sprintf("**%s** has the %s %s: %d (%s).%s", tallyNames(winners), q.Verb, many, best, scope, suffix)
	case Which:
		if len(having) == 0 {
			return fmt.Sprintf("**No account** that answered has %s (%s).%s", many, scope, suffix)
		}
		return fmt.Sprintf("**%s** %s (%s): %s.%s", number(len(having), "account has", "accounts have"), many, scope, tallyNames(having), suffix)
	}
	atLeast := ""
	if partial {
		atLeast = "at least "
	}
	return fmt.Sprintf("**%s%d %s** in %s.%s", atLeast, total, many, scope, suffix)
}

// headlineOfGroups names the groups that have the most or the fewest; one that has none is no group.
func headlineOfGroups(q Question, k kind, many string, groups []group, partial bool) string {
	best := groups[0].Count
	for _, g := range groups {
		if q.Verb == Most {
			best = max(best, g.Count)
		} else {
			best = min(best, g.Count)
		}
	}
	var names []string
	for _, g := range groups {
		if g.Count == best {
			names = append(names, cell(g.Key))
		}
	}
	suffix := ""
	if q.Verb == Fewest {
		suffix = " One that has none at all is not counted."
	}
	if partial {
		suffix += partialSuffix
	}
	return fmt.Sprintf("**%s** has the %s %s: %d (%s).%s", strings.Join(names, ", "), q.Verb, many, best, where(q, k), suffix)
}

// where says which accounts and Regions a question about k is about.
func where(q Question, k kind) string {
	if regions := regionWords(q, k); regions != "" {
		return scopeWords(q) + ", " + regions
	}
	return scopeWords(q)
}

func tallyNames(accounts []tally) string {
	var names []string
	for _, a := range accounts {
		names = append(names, clean(a.name))
	}
	return strings.Join(names, ", ")
}

// perAccount lists the counts.
func perAccount(accounts []tally) string {
	var lines []string
	for _, a := range accounts {
		count := fmt.Sprint(a.count)
		switch {
		case !a.answered && a.count == 0:
			count = "not known"
		case !a.answered || a.more:
			count = "at least " + count
		}
		lines = append(lines, fmt.Sprintf("- %s: %s", clean(a.name), count))
	}
	if len(lines) > maxTableRows {
		lines = append(lines[:maxTableRows], fmt.Sprintf("- ... and %d more accounts", len(lines)-maxTableRows))
	}
	return strings.Join(lines, "\n")
}

// resourceRows turns rows of the bridge into cells. A count doesn't list what it counts.
func resourceRows(targets []target, fields []field, count bool) [][]string {
	if count {
		return nil
	}
	var rows [][]string
	for _, t := range targets {
		for _, data := range t.Data {
			row := []string{cell(t.AccountName), cell(t.AccountID), cell(t.Region)}
			var object map[string]any
			if json.Unmarshal(data, &object) != nil {
				var value any
				_ = json.Unmarshal(data, &value) // data is JSON: it was cut out of a decoded value
				object = map[string]any{fields[0].key: value}
			}
			for _, f := range fields {
				row = append(row, cell(object[f.key]))
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// composeOperation shows the rows of any operation, with the columns that they have.
func composeOperation(q Question, e envelope) string {
	var keys []string
	total := 0
	for _, t := range e.Results {
		total += t.count()
		for _, data := range t.Data {
			var object map[string]any
			if json.Unmarshal(data, &object) == nil {
				for _, key := range sortedKeys(object) {
					if !slices.Contains(keys, key) {
						keys = append(keys, key)
					}
				}
			}
		}
	}
	const maxColumns = 8
	note := ""
	if len(keys) > maxColumns {
		note = fmt.Sprintf("\n\nThe first %d of %d columns are shown; add `select` with a JMESPath for others.", maxColumns, len(keys))
		keys = keys[:maxColumns]
	}
	if len(keys) == 0 {
		keys = []string{"value"}
	}
	header := []string{"account", "account id", "Region"}
	var fields []field
	for _, key := range keys {
		fields = append(fields, field{key: key})
		header = append(header, clean(key))
	}
	k := kind{many: "rows", service: q.Service, global: !slices.ContainsFunc(e.Results, func(t target) bool { return t.Region != "global" })}
	name := q.Service + ":" + q.Operation
	if e.Coverage.Targets > 0 && e.Coverage.Answered == 0 {
		return fmt.Sprintf("**Not known**: nothing that was asked about %s answered (%s).\n\n%s", name, where(q, k), composeCoverage(e, q, k))
	}
	atLeast, suffix := "", ""
	if e.Coverage.Answered < e.Coverage.Targets {
		atLeast, suffix = "at least ", partialSuffix
	}
	text := fmt.Sprintf("**%s** in %s: %s%s.%s", name, where(q, k), atLeast, number(total, "row", "rows"), suffix)
	if rows := resourceRows(e.Results, fields, false); len(rows) > 0 {
		text += "\n\n" + table(header, rows) + note
	}
	return text + "\n\n" + composeCoverage(e, q, k)
}

// composeCoverage says who was asked and who could not be, and why.
func composeCoverage(e envelope, q Question, k kind) string {
	c := e.Coverage
	var b strings.Builder
	fmt.Fprintf(&b, "Coverage: %d of %s answered", c.Answered, number(c.Targets, "target (account and Region)", "targets (account and Region)"))
	for _, part := range []struct {
		n    int
		text string
	}{{c.Denied, "denied"}, {c.Failed, "failed"}, {c.Skipped, "skipped"}} {
		if part.n > 0 {
			fmt.Fprintf(&b, ", %d %s", part.n, part.text)
		}
	}
	b.WriteString(".")
	if len(q.Scope) == 0 {
		b.WriteString(" No account was named, so all were asked.")
	}
	if k.service != "" && !k.global && len(regionsFor(k, q)) == 0 {
		b.WriteString(" No Region was named, so only the home Region was asked; add “in all Regions” for more.")
	}
	shown := 0
	var hints []string
	for _, t := range e.Results {
		if t.Status == "ok" {
			continue
		}
		if shown++; shown > maxReasons {
			continue
		}
		fmt.Fprintf(&b, "\n- Not answered: %s in %s: %s", clean(t.name()), clean(t.Region), clean(t.Status))
		if t.Error != nil {
			fmt.Fprintf(&b, ": %s", clean(t.Error.Message))
			if hint := forPeople(t.Error.Hint); hint != "" && !slices.Contains(hints, hint) {
				hints = append(hints, hint)
			}
		}
	}
	if shown > maxReasons {
		fmt.Fprintf(&b, "\n- ... and %d more", shown-maxReasons)
	}
	for _, hint := range hints {
		fmt.Fprintf(&b, "\n- Hint: %s", hint)
	}
	for _, note := range e.Notes {
		if q.Intent == Resources && strings.HasPrefix(note, "select found no row") { // it is the planner's, and filters
			continue
		}
		if !strings.HasPrefix(note, "partial: ") && !strings.HasPrefix(note, "no target answered") { // said above
			fmt.Fprintf(&b, "\n- Note: %s", clean(note))
		}
	}
	if e.Truncated {
		b.WriteString("\n- The answer was cut to size: rows are missing above, the counts are not cut.")
	}
	if who := asWhom(e.Results); who != "" {
		b.WriteString("\n\nAsked as " + who + ".")
	}
	return b.String()
}

// asWhom names the person and the role by the receipts.
func asWhom(targets []target) string {
	people, roles := map[string]bool{}, map[string]bool{}
	for _, t := range targets {
		if t.Receipt != nil && t.Receipt.SourceIdentity != "" {
			people[clean(t.Receipt.SourceIdentity)] = true
			_, role, _ := strings.Cut(t.Receipt.RoleARN, ":role/")
			roles[clean(role)] = true
		}
	}
	if len(people) == 0 {
		return ""
	}
	return fmt.Sprintf("%s through the role %s of each account", strings.Join(slices.Sorted(maps.Keys(people)), ", "),
		strings.Join(slices.Sorted(maps.Keys(roles)), ", "))
}

// scopeWords says which accounts a question is about.
func scopeWords(q Question) string {
	if len(q.Scope) == 0 {
		return "all accounts"
	}
	var words []string
	for _, s := range q.Scope {
		env, found := strings.CutPrefix(s.Readings[0], "env:")
		switch {
		case s.Readings[0] == "all":
			words = append(words, "all accounts")
		case found:
			words = append(words, "environment "+clean(env))
		default:
			words = append(words, "account "+clean(s.Readings[0]))
		}
	}
	return strings.Join(words, " and ")
}

// regionWords says which Regions a question is about; "" for global kinds and the bridge's own Region.
func regionWords(q Question, k kind) string {
	regions := regionsFor(k, q)
	switch {
	case k.inRegion != "" && len(q.Regions) > 0:
		regions = q.Regions
	case len(regions) == 0:
		return ""
	}
	if regions[0] == "all" {
		return "all Regions"
	}
	return strings.Join(regions, " and ")
}

// table is a Markdown table of at most maxTableRows rows.
func table(header []string, rows [][]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |\n|%s", strings.Join(header, " | "), strings.Repeat(" --- |", len(header)))
	for i, row := range rows {
		if i == maxTableRows {
			fmt.Fprintf(&b, "\n\n%d more rows are not shown.", len(rows)-maxTableRows)
			break
		}
		fmt.Fprintf(&b, "\n| %s |", strings.Join(row, " | "))
	}
	return b.String()
}

// cell shows a value of a tool result in a table: on one line, short, and unable to end the cell.
func cell(v any) string {
	return strings.ReplaceAll(clip(clean(scalar(v)), maxCell), "|", `\|`)
}

// scalar is v as text: strings bare, nil empty, the rest as JSON. Lists of rules of a security group read as ports.
func scalar(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case map[string]any:
		var parts []string
		for _, key := range sortedKeys(x) {
			parts = append(parts, key+"="+scalar(x[key]))
		}
		return strings.Join(parts, " ")
	case []any:
		var parts []string
		for _, item := range x {
			parts = append(parts, portRange(item))
		}
		return strings.Join(parts, ", ")
	}
	data, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(data)
}

// portRange shows {"protocol","from","to"} as "tcp 80" or "tcp 80-90", protocol -1 as "all traffic", and anything else as
// scalar does.
func portRange(v any) string {
	rule, ok := v.(map[string]any)
	if !ok || rule["protocol"] == nil {
		return scalar(v)
	}
	protocol, from, to := scalar(rule["protocol"]), scalar(rule["from"]), scalar(rule["to"])
	switch {
	case protocol == "-1":
		return "all traffic"
	case from == "" || from == to:
		return strings.TrimSpace(protocol + " " + from)
	}
	return protocol + " " + from + "-" + to
}

// clean puts text of tools and people on one line without control and formatting characters, and without backquotes
// and HTML, so that it can't end or open a mark.
func clean(text string) string {
	return strings.NewReplacer("`", "'", "<", "‹", ">", "›").Replace(oneLine(text))
}

// oneLine replaces white space and control characters by single spaces, and drops invisible ones (U+200B, U+202E ...).
func oneLine(text string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r):
			return ' '
		case !unicode.IsPrint(r) && !unicode.IsSpace(r):
			return -1
		}
		return r
	}, text)), " ")
}

// printable keeps lines, but no other control or invisible characters.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		if unicode.IsSpace(r) {
			return ' '
		}
		return -1
	}, text)
}

// quote makes text a Markdown quotation.
func quote(text string) string {
	return "> " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n> ")
}

// clip cuts text to n characters.
func clip(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-1]) + "…"
}

func number(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func quoteList(words []string) string {
	var quoted []string
	for _, w := range words {
		quoted = append(quoted, "“"+clean(w)+"”")
	}
	return strings.Join(quoted, ", ")
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
