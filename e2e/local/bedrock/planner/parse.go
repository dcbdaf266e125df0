package planner

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Whole-text forms, tried before the words are looked at one by one.
var (
	helpForm      = regexp.MustCompile(`(?i)^\W*(help|hello|hi|hey|good (?:morning|evening)|thanks?(?: you)?|what (can|could) (you|i) (do|ask)( (you|here))?|what do you (understand|know)|(show me )?examples?)\W*$`)
	operationForm = regexp.MustCompile(`(?is)^\s*(?:(?:please|can you|could you)\s+)*(?:(?:call|run|execute|invoke|try)\s+)?([a-z][a-z0-9-]+)[:.]([A-Za-z][A-Za-z0-9-]{3,})\b(.*)$`)
	callForm      = regexp.MustCompile(`(?is)^\s*(?:(?:please|can you|could you)\s+)*(?:call|run|execute|invoke|try)\s+([a-z][a-z0-9-]+)\s+((?-i:[A-Z][a-z]+[A-Z])[A-Za-z0-9]*)\b(.*)$`)
	// The AWS CLI's way: "aws ec2 describe-vpcs", for reads also without "aws".
	commandForm = regexp.MustCompile(`(?is)^\s*(?:(?:please|can you|could you)\s+)*(?:(?:call|run|execute|invoke|try)\s+)?(?:aws\s+([a-z][a-z0-9-]+)\s+([a-z]+(?:-[a-z0-9]+)+)|([a-z][a-z0-9-]+)\s+((?:describe|list|get|search|lookup)(?:-[a-z0-9]+)+))(\s.*)?$`)
	selectForm  = regexp.MustCompile(`(?is)\bselect(?:ing)?\s+(.+)$`)
	pageForm    = regexp.MustCompile(`(?i)\b(?:read|open|fetch|show|summari[sz]e)\b.*?(https://docs\.aws\.amazon\.com/\S+)`)
	docsForms   = []*regexp.Regexp{
		regexp.MustCompile(`(?is)^\s*(?:aws\s+)?(?:documentation|docs?|manual)\s*[:\-–—]\s*(.+)$`),
		regexp.MustCompile(`(?is)^\s*(?:please\s+|can you\s+|could you\s+)*(?:search|look up|look in|look through|find in|check|consult|query)\s+(?:in\s+|through\s+)?(?:the\s+)?(?:aws\s+)?(?:documentation|docs?|manual)\b\s*(?:for|about|on|to find|:)?\s*(.+)$`),
		regexp.MustCompile(`(?is)^\s*what (?:does|do) (?:the )?(?:aws )?(?:documentation|docs?|manual) say (?:about|on)\s+(.+)$`),
		regexp.MustCompile(`(?is)^\s*((?:how (?:do|can|should|would|does|to)|why (?:do|does|is|are|can't)|explain|what (?:is|are|'s) (?:an?|the (?:maximum|minimum|default|limits?|quotas?|difference|meaning|purpose))|what does)\b.+)$`),
	}
	cueForm  = regexp.MustCompile(`(?i)^\W*(?:and|or|what about|how about|same (?:for|in|question)|the same|now|then|only|just|but|also|ok(?:ay)?,?)\b`)
	showForm = regexp.MustCompile(`(?i)^\W*(?:(?:and|so|ok(?:ay)?|now|then)\W+)?(?:please\s+)?(?:list|show|name|which (?:of (?:them|those|these)|ones?)\b|what are (?:they|those|these))`)
	// readsLists are nouns after which "create" and "make" ask for a list, not for a resource.
	readsLists = regexp.MustCompile(`(?i)^\W*(?:please\s+|can you\s+|could you\s+)*(?:create|make|write|put together|give)\s+(?:me\s+|us\s+)?(?:an?|the)?\s*(?:list|table|report|summary|overview|inventory)\b`)
)

// Parse reads one question by itself.
func Parse(text string) Question {
	text = strings.TrimSpace(text)
	if text == "" || helpForm.MatchString(text) {
		return Question{Intent: Help}
	}
	if m := pageForm.FindStringSubmatch(text); m != nil {
		return Question{Intent: ReadPage, Search: strings.TrimRight(m[1], ".,;)")}
	}
	for _, form := range docsForms {
		if m := form.FindStringSubmatch(text); m != nil {
			if rankQuestion.MatchString(text) {
				break
			}
			return Question{Intent: Documentation, Search: strings.TrimSpace(m[1])}
		}
	}
	if m := commandForm.FindStringSubmatch(text); m != nil {
		return parseOperation(strings.TrimSuffix(strings.ToLower(m[1]+m[3]), "api"), m[2]+m[4], m[5]) // s3api
	}
	for _, form := range []*regexp.Regexp{operationForm, callForm} {
		m := form.FindStringSubmatch(text)
		if m != nil && !regexp.MustCompile(`(?i)^(env|tag|name|id|account|https?|arn)$`).MatchString(m[1]) && !typePattern.MatchString(strings.ToLower(m[1]+"."+m[2])) {
			return parseOperation(strings.ToLower(m[1]), m[2], m[3])
		}
	}
	return parseResources(text)
}

// parseOperation reads "ec2:DescribeVpcs in prod, all regions with {...} select Vpcs[].VpcId" after its name.
func parseOperation(service, operation, rest string) Question {
	q := Question{Intent: Operation, Service: service}
	for part := range strings.SplitSeq(operation, "-") { // the bridge takes any spelling; people read this one
		if part != "" {
			q.Operation += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	if m := selectForm.FindStringSubmatchIndex(rest); m != nil {
		q.Select = strings.Trim(strings.TrimSpace(rest[m[2]:m[3]]), "`\"")
		rest = rest[:m[0]]
	}
	if start, end := strings.Index(rest, "{"), strings.LastIndex(rest, "}"); start >= 0 && end > start {
		if params := rest[start : end+1]; json.Valid([]byte(params)) {
			q.Params = json.RawMessage(params)
			rest = rest[:start] + " " + rest[end+1:]
		}
	}
	s := &sentence{words: split(rest)}
	s.use("with", "params", "parameters", "operation", "arguments", "output", "json", "table", "text")
	if excluded := s.exclusion(); excluded != "" {
		return Question{Intent: Exclusion, Unread: []string{excluded}}
	}
	q.Regions = s.regions()
	q.Scope = s.scope()
	q.Unread = s.unread()
	return q
}

// parseResources reads everything else, word by word. The order matters: what is unmistakable goes first.
func parseResources(text string) Question {
	s := &sentence{words: split(text)}
	q := Question{Intent: Resources, Verb: List, Cue: cueForm.MatchString(text)}

	if readsLists.MatchString(text) {
		s.use("create", "make", "write", "put")
	} else if s.writes() {
		return Question{Intent: Write}
	}
	q.Regions = s.regions()
	q.Filter.Name = s.name()
	s.ids(&q)
	s.types(&q)
	open := s.openToTheWorld(&q.Filter)
	q.Group = s.group()
	q.Kinds = s.kinds(q.Kinds)
	if open && len(q.Kinds) == 0 {
		q.Kinds = []string{"sg"}
	}
	if q.Filter.Name == "" {
		q.Filter.Name = cmp.Or(s.nameAfterKind(), s.nameOf())
	}
	q.Filter.State = s.state()
	q.Verb = s.verb(text)
	if ranked := rankedForm.FindStringSubmatch(text); ranked != nil && (q.Verb == Most || q.Verb == Fewest) {
		q.Group = groupWords[strings.ToLower(ranked[1])]
		if q.Group == "region" && len(q.Regions) == 0 {
			q.Regions = []string{"all"}
		}
	}
	if excluded := s.exclusion(); excluded != "" {
		return Question{Intent: Exclusion, Unread: []string{excluded}, Cue: q.Cue}
	}
	asksAccounts := s.asksForAccounts()
	q.Scope = s.scope()
	if q.Verb == Which && q.Filter.Name == "" {
		q.Filter.Name = s.nameBeforeKind()
	}
	if word := s.first(moneyWords); word != "" && len(q.Kinds) > 0 { // what there is says nothing about what it costs
		return Question{Intent: Unknown, Unread: []string{word}, Cue: q.Cue}
	}
	if word := s.first(secretWords); word != "" && len(q.Kinds) == 0 {
		return Question{Intent: Secret}
	}
	q.Unread = s.unread()

	if len(q.Kinds) > 0 {
		return q
	}
	widens := q.Cue && len(q.Scope) > 0 && q.Scope[0].Readings[0] == "all" // "and in all accounts?"
	if asksAccounts && !widens && q.Filter == (Filter{}) && len(q.Regions) == 0 && len(q.Unread) == 0 {
		q.Intent = Accounts
		q.Verb = List
		q.Search, q.Scope = accountFilter(q.Scope), nil
		return q
	}
	q.Intent = Fragment
	q.Shows = showForm.MatchString(text)
	if len(q.Scope) == 0 && len(q.Regions) == 0 && q.Filter == (Filter{}) && q.Group == "" && (q.Verb == List || len(q.Unread) > 0) {
		q.Intent, q.Shows = Unknown, false
	}
	return q
}

// accountFilter is the text by which list_accounts narrows its answer.
func accountFilter(scope []Selector) string {
	if len(scope) == 0 || scope[0].Readings[0] == "all" {
		return ""
	}
	_, text, found := strings.Cut(scope[0].Readings[0], ":")
	if !found {
		return scope[0].Readings[0]
	}
	return text
}

// Merge completes a follow-up by the question before it. What the follow-up names replaces what was asked before; what it
// doesn't name stays.
func Merge(before, q Question) Question {
	resources := before.Intent == Resources || before.Intent == Operation
	switch {
	case q.Intent == Fragment && len(q.Unread) > 0: // "and load balancers in prod?" is about something else
		q.Intent = Unknown
	case q.Intent == Fragment && resources:
		merged := before
		merged.Unread, merged.Cue = nil, q.Cue
		if len(q.Scope) > 0 {
			merged.Scope = q.Scope
		}
		if len(q.Regions) > 0 {
			merged.Regions = q.Regions
		}
		if q.Verb != List || q.Shows {
			merged.Verb = q.Verb
		}
		if q.Group != "" {
			merged.Group = q.Group
		}
		merged.Filter = mergeFilter(before.Filter, q.Filter)
		return merged
	case q.Intent == Fragment:
		q.Intent = Unknown
		return q
	case q.Intent == Resources && q.Cue && resources:
		if len(q.Scope) == 0 {
			q.Scope = before.Scope
		}
		if len(q.Regions) == 0 {
			q.Regions = before.Regions
		}
		if q.Verb == List && before.Verb != "" {
			q.Verb = before.Verb
		}
	}
	return q
}

func mergeFilter(before, after Filter) Filter {
	if after.Name != "" || after.ID != "" {
		before.Name, before.ID = after.Name, after.ID
	}
	if after.Type != "" {
		before.Type = after.Type
	}
	if after.State != "" {
		before.State = after.State
	}
	if after.Open {
		before.Open, before.Port = true, after.Port
	}
	return before
}

// sentence is a question while its words are being read.
type sentence struct {
	words []word
	left  []string // what was understood, but has no use
}

// use marks words as read wherever they stand.
func (s *sentence) use(lows ...string) {
	for i := range s.words {
		if slices.Contains(lows, s.words[i].low) {
			s.words[i].used = true
		}
	}
}

// mark marks n words from i on.
func (s *sentence) mark(i, n int) {
	for j := i; j < i+n && j < len(s.words); j++ {
		s.words[j].used = true
	}
}

// at tells whether the phrase, in lower case, stands at word i, unread.
func (s *sentence) at(i int, phrase string) bool {
	parts := strings.Fields(phrase)
	if i < 0 || i+len(parts) > len(s.words) {
		return false
	}
	for j, part := range parts {
		if w := s.words[i+j]; w.used || w.low != part || w.quoted && len(parts) > 1 {
			return false
		}
	}
	return true
}

// low is word i in lower case, "" outside the sentence.
func (s *sentence) low(i int) string {
	if i < 0 || i >= len(s.words) {
		return ""
	}
	return s.words[i].low
}

var changeless = set("please can could you would i we want to need like let us now go ahead and then just also")

// writes tells whether something is to be changed: a verb of change where an order begins, or one that is never a noun
// anywhere.
func (s *sentence) writes() bool {
	first := true
	for i, w := range s.words {
		if w.quoted || w.low == "," {
			continue
		}
		if nameWords[s.low(i-1)] {
			first = false
			continue
		}
		if first && w.low == "run" && slices.Contains([]string{"a", "an", "new", "another"}, s.low(i+1)) {
			return true
		}
		if s.low(i+1) == "with" && (w.low == "start" || w.low == "begin") { // a name
			first = false
			continue
		}
		if writeVerbs[w.low] && (first || strongVerbs[w.low] && !s.tells(i)) {
			return true
		}
		if first && w.low == "tag" || first && w.low == "shut" && s.low(i+1) == "down" {
			return true
		}
		first = first && changeless[w.low]
	}
	return false
}

// tells tells whether the verb at word i is part of a question about what somebody does or did, and no order.
func (s *sentence) tells(i int) bool {
	for _, asks := range []string{"which", "what", "when", "who", "where", "why", "did"} {
		if s.low(0) == asks {
			before := s.low(i - 1)
			return before != "and" && before != "then" && before != "please" && before != ","
		}
	}
	return false
}

// strongVerbs are read as an order wherever they stand.
var strongVerbs = set("create decommission delete deploy destroy detach launch modify reboot restart start stop terminate wipe")

var nameWords = set("named called name")

// regions reads Regions by id, by place, or all of them.
func (s *sentence) regions() []string {
	var regions []string
	add := func(r string) {
		if !slices.Contains(regions, r) {
			regions = append(regions, r)
		}
	}
	all := false
	for i, w := range s.words {
		switch {
		case w.used || w.quoted && !regionPattern.MatchString(w.low):
		case regionPattern.MatchString(w.low), regionLike.MatchString(w.low): // of one that is misspelt the bridge says which there are
			add(w.low)
			s.mark(i, 1)
		case cities[strings.ReplaceAll(w.low+" "+s.low(i+1), ".", "")] != "":
			add(cities[strings.ReplaceAll(w.low+" "+s.low(i+1), ".", "")])
			s.mark(i, 2)
		case cities[w.low] != "":
			add(cities[w.low])
			s.mark(i, 1)
		case w.low == "regions" || w.low == "region":
			if before := s.low(i - 1); slices.Contains([]string{"all", "every", "each", "any", "across"}, before) ||
				(before == "the" || before == "aws" || before == "our") && slices.Contains([]string{"all", "of", "across", "every", "each", "any"}, s.low(i-2)) {
				all = true
				s.mark(i-1, 1)
			}
			s.mark(i, 1)
		case w.low == "everywhere" || w.low == "worldwide" || w.low == "globally":
			all = true // "everywhere" is left for the accounts
		}
	}
	if all {
		return []string{"all"}
	}
	return regions
}

// name reads "named X", "called X", "name is X", "starting with X", "with X in the name". An account's name is not meant.
func (s *sentence) name() string {
	for i := range s.words {
		if s.words[i].used {
			continue
		}
		for _, phrase := range []string{"with the name", "whose name is", "name is", "named", "called"} {
			n := len(strings.Fields(phrase))
			if !s.at(i, phrase) || s.accountBefore(i) {
				continue
			}
			if j := i + n; s.low(j) != "" && s.low(j) != "," {
				if s.low(j) == "like" {
					j++
				}
				if j < len(s.words) {
					s.mark(i, j-i+1)
					return s.words[j].text
				}
			}
		}
		for phrase, pattern := range map[string]string{
			"starting with": "%*", "starts with": "%*", "start with": "%*", "beginning with": "%*", "begins with": "%*", "prefixed with": "%*",
			"ending with": "*%", "ends with": "*%", "ending in": "*%", "containing": "*%*", "contains": "*%*", "contain": "*%*",
		} {
			n := len(strings.Fields(phrase))
			if s.at(i, phrase) && i+n < len(s.words) {
				text := s.words[i+n].text
				s.mark(i, n+1)
				return strings.ReplaceAll(pattern, "%", text)
			}
		}
		if s.at(i, "with") && (s.at(i+2, "in the name") || s.at(i+2, "in their name") || s.at(i+2, "in their names") || s.at(i+2, "in its name")) {
			text := s.words[i+1].text
			s.mark(i, 5)
			return "*" + text + "*"
		}
	}
	return ""
}

// accountBefore tells whether word i belongs to "account(s)" right before it.
func (s *sentence) accountBefore(i int) bool {
	return slices.Contains([]string{"account", "accounts"}, s.low(i-1))
}

// ids reads resource ids, which also tell the kind.
func (s *sentence) ids(q *Question) {
	for i, w := range s.words {
		m := resourcePattern.FindStringSubmatch(w.low)
		if w.used || m == nil {
			continue
		}
		q.Filter.ID = w.low
		q.Kinds = []string{kindOfID[m[1]]}
		s.mark(i, 1)
		return
	}
}

// types reads instance types and classes, runtimes and engines. They suggest a kind, which a word for a kind overrules.
func (s *sentence) types(q *Question) {
	for i, w := range s.words {
		if w.used {
			continue
		}
		suggests := ""
		value := w.low
		switch {
		case strings.HasPrefix(w.low, "db.") && typePattern.MatchString(w.low):
			suggests, value = "rds", "*"+w.low
		case typePattern.MatchString(w.low):
			suggests = "ec2"
		case familyPattern.MatchString(w.low):
			suggests, value = "ec2", w.low+".*"
		case len(runtimeNames[w.low]) > 0 && versionPattern.MatchString(s.low(i+1)):
			suggests, value = "lambda", runtimeNames[w.low]+versionPattern.FindStringSubmatch(s.low(i + 1))[1]+"*"
			s.mark(i+1, 1)
		case w.low == "node" || w.low == "node.js" || w.low == "nodejs":
			suggests, value = "lambda", "nodejs*"
		case runtimePattern.MatchString(w.low) && w.low != "go":
			suggests, value = "lambda", w.low+"*"
		case enginePattern.MatchString(w.low):
			suggests, value = "rds", strings.TrimSuffix(w.low, "ql")+"*"
			if strings.HasPrefix(w.low, "mysql") {
				value = w.low + "*"
			}
		default:
			continue
		}
		q.Filter.Type = value
		if len(q.Kinds) == 0 {
			q.Kinds = []string{suggests}
		}
		s.mark(i, 1)
		return
	}
}

// runtimeNames are the words that a version follows: "Python 3.8".
var runtimeNames = map[string]string{
	"python": "python", "node": "nodejs", "node.js": "nodejs", "nodejs": "nodejs", "java": "java", "ruby": "ruby", ".net": "dotnet", "dotnet": "dotnet",
}

// openToTheWorld reads the ways in which a security group is called open, and at which port.
func (s *sentence) openToTheWorld(f *Filter) bool {
	if f.Open = s.open(); !f.Open {
		return false
	}
	for i, w := range s.words {
		switch next := s.low(i + 1); {
		case w.used:
		case w.low == "ssh" || w.low == "rdp":
			f.Port = map[string]int{"ssh": 22, "rdp": 3389}[w.low]
			s.mark(i, 1)
		case (w.low == "port" || w.low == "ports") && portPattern.MatchString(next):
			f.Port, _ = strconv.Atoi(next)
			s.mark(i, 2)
		}
	}
	s.use("ports", "port", "inbound", "ingress", "rules", "rule", "traffic", "access", "allow", "allows", "allowing", "permit", "permits")
	return true
}

func (s *sentence) open() bool {
	for i := range s.words {
		for _, phrase := range []string{
			"open to the entire world", "open to the whole world", "open to the world", "open to the internet", "open to the public", "open to everyone",
			"open to anyone", "open to the whole internet", "open to world", "open to internet", "open to all", "exposed to the internet", "exposed to the world", "exposed to the public",
			"accessible from the internet", "accessible from anywhere", "reachable from the internet", "reachable from anywhere", "accessible to everyone",
			"publicly accessible", "publicly open", "world open", "world-open", "wide open", "open to 0.0.0.0/0", "allowing 0.0.0.0/0", "allow 0.0.0.0/0", "0.0.0.0/0", "::/0",
			"from anywhere", "from the internet",
		} {
			if s.at(i, phrase) {
				s.mark(i, len(strings.Fields(phrase)))
				return true
			}
		}
	}
	for _, low := range []string{"open", "public", "exposed"} {
		for i := range s.words {
			if _, n := s.kindAt(i + 1); low == "public" && n > 0 && s.at(i, low) {
				s.mark(i, 1)
				return true
			}
			if s.at(i, low) && (s.at(i+1, "security") || slices.Contains([]string{"group", "groups", "are", "is"}, s.low(i-1))) {
				s.mark(i, 1)
				return true
			}
		}
	}
	return false
}

// kinds reads what sort of resource is asked for, longest phrases first. A kind that is said overrules a suggested one.
func (s *sentence) kinds(suggested []string) []string {
	var found []string
	for i := 0; i < len(s.words); i++ {
		id, n := s.kindAt(i)
		if n == 0 {
			continue
		}
		s.mark(i, n)
		if !slices.Contains(found, id) {
			found = append(found, id)
		}
		i += n - 1
	}
	if len(found) == 0 {
		return suggested
	}
	return found
}

// kindAt finds the longest name of a kind at word i, and how many words it has; 0 if there is none.
func (s *sentence) kindAt(i int) (id string, words int) {
	for _, k := range kinds {
		for _, phrase := range k.phrases {
			n := len(strings.Fields(phrase))
			if n > words && (s.at(i, phrase) || s.at(i, phrase+"s") || s.at(i, phrase+"es")) {
				id, words = k.id, n
			}
		}
	}
	return id, words
}

// nameAfterKind reads "bucket orders" and "instance web-1": one name after a kind in the singular. The name must be
// quoted or look like one, because most words after a kind are not its name.
func (s *sentence) nameAfterKind() string {
	for i := range s.words {
		if i == 0 || i >= len(s.words) || !s.words[i-1].used || s.words[i].used {
			continue
		}
		before, w := s.low(i-1), s.words[i]
		if !slices.ContainsFunc(kinds, func(k kind) bool {
			return slices.ContainsFunc(k.phrases, func(p string) bool { return p == before || strings.HasSuffix(p, " "+before) })
		}) {
			continue
		}
		if accountPattern.MatchString(w.low) || selectorPattern.MatchString(w.low) {
			continue
		}
		plain := s.low(0) == "where" && !fillers[w.low] && states[w.low] == "" && environments[w.low] == "" // "where is instance bastion?"
		if w.quoted || resourceNameLike.MatchString(w.low) || plain {
			s.mark(i, 1)
			return w.text
		}
	}
	return ""
}

// ofWhat are what one asks of something that is named: "the type of web-1".
var ofWhat = set("type class size state status runtime engine id")

// nameOf reads "the type of web-1" and "the state of the bucket orders-1".
func (s *sentence) nameOf() string {
	for i, w := range s.words {
		if i < 2 || s.low(i-1) != "of" || !ofWhat[s.low(i-2)] || w.used || accountPattern.MatchString(w.low) || selectorPattern.MatchString(w.low) {
			continue
		}
		if w.quoted || resourceNameLike.MatchString(w.low) {
			s.mark(i, 1)
			return w.text
		}
	}
	return ""
}

// nameBeforeKind reads "the checkout function", where one is looked for.
func (s *sentence) nameBeforeKind() string {
	for i, w := range s.words {
		if w.used || w.quoted || fillers[w.low] || s.low(i-1) != "the" {
			continue
		}
		for _, k := range kinds {
			for _, phrase := range k.phrases {
				if first, _, _ := strings.Cut(phrase, " "); s.low(i+1) == first {
					s.mark(i, 1)
					return w.text
				}
			}
		}
	}
	return ""
}

// groupWords are the words for what one can count by, and the field that each means.
var groupWords = map[string]string{
	"type": "type", "class": "type", "size": "type", "runtime": "type", "engine": "engine", "state": "state", "status": "state",
	"region": "region", "account": "account_name", "environment": "environment", "env": "environment", "vpc": "vpc",
}

// group reads "by type", "per account" and "for each Region".
func (s *sentence) group() string {
	for i := range s.words {
		for _, phrase := range []string{"grouped by", "broken down by", "by", "per", "for each"} {
			n := len(strings.Fields(phrase))
			if !s.at(i, phrase) {
				continue
			}
			for skip := range 2 { // "by instance type"
				low := s.low(i + n + skip)
				for _, word := range []string{low, strings.TrimSuffix(low, "s")} {
					field, ok := groupWords[word]
					if !ok {
						continue
					}
					s.mark(i, n+skip+1)
					if j := i + n + skip + 1; s.low(j) == "and" || s.low(j) == "," {
						if _, second := groupWords[s.low(j+1)]; second {
							s.left = append(s.left, "and "+s.low(j+1))
						}
					}
					return field
				}
			}
		}
	}
	return ""
}

func (s *sentence) state() string {
	for i, w := range s.words {
		if w.used || w.quoted {
			continue
		}
		if (w.low == "turned" || w.low == "powered" || w.low == "switched") && (s.low(i+1) == "off" || s.low(i+1) == "on") {
			s.mark(i, 2)
			return map[string]string{"off": "stopped", "on": "running"}[s.low(i+1)]
		}
		if state, ok := states[w.low]; ok {
			s.mark(i, 1)
			return state
		}
	}
	return ""
}

var (
	rankQuestion = regexp.MustCompile(`(?i)\b(the )?(most|fewest|least|(?:highest|lowest|largest|biggest|greatest|smallest) (?:number|count))\b`)
	countForm    = regexp.MustCompile(`(?i)\b(how many|count|number of|how much|total number|tally)\b`)
	whichForm    = regexp.MustCompile(`(?i)\b(which|what|whose) (?:of (?:the|my|our) )?(?:aws )?accounts?\b|\b(?:in|from|to) which\b|\bwhere\b|\bwho (?:owns|has|runs)\b`)
	rankedForm   = regexp.MustCompile(`(?i)\b(?:which|what) (environment|env|region)\b`)
	unrankedForm = regexp.MustCompile(`(?i)\b(?:which|what) (?:vpc|team)\b`)
	noneForm     = regexp.MustCompile(`(?i)\b(no|without|don't have|do not have|doesn't have|does not have|lack|lacks|lacking)\b`)
)

// verb reads how the resources are to be answered.
func (s *sentence) verb(text string) Verb {
	which := whichForm.MatchString(text)
	switch m := rankQuestion.FindString(text); {
	case m != "":
		s.use("most", "fewest", "least", "highest", "lowest", "largest", "biggest", "greatest", "smallest", "number", "count")
		if ranked := unrankedForm.FindString(text); ranked != "" { // accounts are what is ranked
			s.left = append(s.left, ranked)
			s.use("team")
		}
		if regexp.MustCompile(`(?i)fewest|least|lowest|smallest`).MatchString(m) {
			return Fewest
		}
		return Most
	case which && noneForm.MatchString(text):
		s.use("no", "without", "don't", "doesn't", "lack", "lacks", "lacking")
		for i := range s.words {
			if s.low(i) == "not" && (s.low(i-1) == "do" || s.low(i-1) == "does") && s.low(i+1) == "have" {
				s.mark(i, 1)
			}
		}
		return None
	case which:
		return Which
	case countForm.MatchString(text):
		s.use("tally")
		return Count
	}
	return List
}

// exclusion returns the word by which something is to be left out, or a condition turned around; "" if there is none.
func (s *sentence) exclusion() string {
	for i, w := range s.words {
		switch {
		case w.used || w.quoted:
		case w.low == "no" && i == 0 && s.low(1) == ",": // "no, in staging"
		case w.low == "not" && s.low(i-1) == "or": // "running or not"
		case exclusions[w.low], strings.HasSuffix(w.low, "n't"), strings.HasSuffix(w.low, "n’t"):
			return w.text
		case (w.low == "other" || w.low == "rather") && s.low(i+1) == "than", w.low == "apart" && s.low(i+1) == "from":
			return w.text + " " + s.low(i+1)
		case w.low == "but" && slices.Contains([]string{"all", "everything", "anything", "every", "everywhere", "accounts", "regions"}, s.low(i-1)):
			return w.text
		}
	}
	return ""
}

// first returns the first word left over that is one of words, "" if there is none.
func (s *sentence) first(words map[string]bool) string {
	for _, w := range s.words {
		if !w.used && !w.quoted && words[w.low] {
			return w.text
		}
	}
	return ""
}

// asksForAccounts tells whether the accounts themselves are what is asked for, and not where to look for something.
func (s *sentence) asksForAccounts() bool {
	for i, w := range s.words {
		if w.used || w.low != "accounts" && w.low != "account" {
			continue
		}
		place := false
		for j := i - 1; j >= max(0, i-3) && !place; j-- {
			place = slices.Contains([]string{"in", "within", "inside", "across", "from"}, s.low(j))
		}
		if !place {
			return true
		}
	}
	return false
}

// scope reads the accounts that a question is about.
func (s *sentence) scope() []Selector {
	var scope []Selector
	add := func(sel Selector) {
		if !slices.ContainsFunc(scope, func(x Selector) bool { return slices.Equal(x.Readings, sel.Readings) }) {
			scope = append(scope, sel)
		}
	}
	all := false
	for i, w := range s.words {
		if w.used {
			continue
		}
		switch {
		case accountPattern.MatchString(w.low):
			add(Selector{w.text, []string{strings.ReplaceAll(w.low, "-", "")}})
			s.mark(i, 1)
		case selectorPattern.MatchString(w.low):
			key, value, _ := strings.Cut(w.text, ":")
			if strings.EqualFold(key, "env") || strings.EqualFold(key, "environment") {
				add(environmentSelector(value))
			} else {
				add(Selector{w.text, []string{value}})
			}
			s.mark(i, 1)
		case w.low == "everywhere" || w.low == "anywhere" || w.low == "worldwide" || w.low == "globally":
			all = true
			s.mark(i, 1)
		case w.low == "organization" || w.low == "organisation" || w.low == "org" || w.low == "fleet" || w.low == "estate":
			all = true
			s.mark(i, 1)
		case (w.low == "accounts" || w.low == "account") && s.quantified(i):
			all = true
			s.mark(i, 1)
		}
	}
	for i := 0; i < len(s.words); i++ {
		names, end := s.namesAt(i)
		for _, sel := range names {
			add(sel)
		}
		if end > i {
			i = end - 1
		}
	}
	for i, w := range s.words {
		if !w.used && !w.quoted && plainEnvironments[w.low] {
			add(nameSelector(w.text, s.isEnvironment(i)))
			s.mark(i, 1)
		}
	}
	if all && len(scope) == 0 {
		return []Selector{{"all accounts", []string{"all"}}}
	}
	return scope
}

// quantified tells whether "all", "every" and the like stand before word i.
func (s *sentence) quantified(i int) bool {
	for j := i - 1; j >= 0 && j >= i-4; j-- {
		switch s.low(j) {
		case "all", "every", "each", "any", "across":
			return true
		case "of", "the", "my", "our", "aws", "these", "those":
		default:
			return false
		}
	}
	return false
}

// isEnvironment tells whether word i is said to be an environment: "the prod environment", "prod accounts",
// "environment prod".
func (s *sentence) isEnvironment(i int) bool {
	after := s.low(i + 1)
	return slices.Contains([]string{"environment", "environments", "env", "envs", "accounts"}, after) ||
		slices.Contains([]string{"environment", "env"}, s.low(i-1))
}

// namesAt reads names of accounts or environments that begin after word i, if i is a preposition or "account". It returns the
// position after them; i if there are none.
func (s *sentence) namesAt(i int) (names []Selector, end int) {
	first := s.low(i)
	account := first == "account" || first == "accounts"
	environment := first == "environment" || first == "env"
	if s.words[i].used || s.words[i].quoted || !account && !environment && !prepositions[first] {
		return nil, i
	}
	j := i + 1
	for articles[s.low(j)] || (account || prepositions[first]) && accountWords[s.low(j)] {
		account = account || s.low(j) == "account" || s.low(j) == "accounts"
		environment = environment || s.low(j) == "environment" || s.low(j) == "env"
		j++
	}
	for {
		start := j
		for j < len(s.words) && s.nameable(j) && !(j > start && (s.words[j-1].quoted || moneyWords[s.low(j)])) {
			j++
		}
		if j == start {
			return names, max(i, min(j, len(s.words)))
		}
		if w := s.words[start]; accountPattern.MatchString(s.low(j)) && !w.quoted && w.text == w.low && environments[w.low] == "" {
			return names, j // "in acount 222222222222": the id says which
		}
		after := s.low(j)
		env := environment || slices.Contains([]string{"environment", "environments", "env", "envs"}, after) || after == "accounts" && j == start+1
		if s.isName(start, j, account || env || after == "account" || after == "accounts", first) {
			selector := nameSelector(s.text(start, j), env)
			if !env && (after == "account" || slices.ContainsFunc(s.words[i:start], func(w word) bool { return w.low == "account" })) {
				selector.Readings = appendNew([]string{selector.Text}, selector.Readings...) // "account staging" is no environment
			}
			names = append(names, selector)
			s.mark(start, j-start)
		} else {
			return names, j
		}
		for accountWords[s.low(j)] {
			j++
		}
		if next := s.low(j); next != "and" && next != "or" && next != "," && next != "vs" && next != "versus" && next != "&" {
			return names, j
		}
		for slices.Contains([]string{"and", "or", ",", "vs", "versus", "&", "in", "the", "for"}, s.low(j)) {
			s.use("vs", "versus", "&")
			j++
		}
	}
}

var (
	articles     = set("the our my all both")
	accountWords = set("account accounts named called number id environment environments env envs tagged tag tags")
)

// nameable tells whether word j can be part of a name.
func (s *sentence) nameable(j int) bool {
	w := s.words[j]
	return !w.used && w.low != "," && w.low != "&" && w.low != "vs" && w.low != "versus" && (w.quoted || !fillers[w.low] || environments[w.low] != "")
}

// isName decides whether words from start to end are a name: because an account or environment is spoken of, because they are
// quoted, a known environment, or written with a capital. After "does" and the like only the last three count.
func (s *sentence) isName(start, end int, spoken bool, preposition string) bool {
	w := s.words[start]
	if preposition == "and" && end-start > 1 && prepositions[s.low(end)] { // "and EKS clusters in staging?"
		return false
	}
	if spoken || w.quoted || environments[w.low] != "" {
		return true
	}
	if capital := w.text != w.low; capital {
		return true
	}
	switch preposition {
	case "in", "for", "from", "of", "within", "inside", "across", "about", "on", "under":
		return end-start == 1 // "in billing"
	}
	return false
}

func (s *sentence) text(start, end int) string {
	var parts []string
	for _, w := range s.words[start:end] {
		parts = append(parts, w.text)
	}
	return strings.Join(parts, " ")
}

// unread returns the words that nothing has read and that mean something.
func (s *sentence) unread() []string {
	rest := s.left
	for _, w := range s.words {
		if !w.used && w.low != "," && (w.quoted || !fillers[w.low]) {
			rest = append(rest, w.text)
		}
	}
	return rest
}

// nameSelector reads a word that may be an environment or an account's name.
func nameSelector(text string, environment bool) Selector {
	low := strings.ToLower(text)
	canonical, known := environments[low]
	switch {
	case environment:
		return environmentSelector(text)
	case known && longEnvironments[low]:
		return Selector{text, []string{text, "env:" + canonical, "env:" + low}}
	case known:
		return Selector{text, appendNew([]string{"env:" + canonical}, "env:"+low, text)}
	}
	return Selector{text, []string{text}}
}

// environmentSelector reads what is said to be an environment.
func environmentSelector(text string) Selector {
	low := strings.ToLower(text)
	if canonical, known := environments[low]; known {
		return Selector{text, appendNew([]string{"env:" + canonical}, "env:"+low, text)}
	}
	return Selector{text, []string{"env:" + text, text}}
}

func appendNew(list []string, more ...string) []string {
	for _, m := range more {
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}
