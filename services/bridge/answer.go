package bridge

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// The bounds of an answer besides its MaxBytes.
const (
	MaxGroups  = 500     // groups shown; the largest are
	maxFrame   = 5 << 20 // bytes without rows, over which errors are shortened: Lambda takes 6 MB
	shortError = 60      // bytes of a shortened error's message
)

// answer merges outcomes, which stand in the order of the accounts asked for, into one Answer and
// cuts it to limit rows (0 means any) and to the bridge's MaxBytes.
func (r *run) answer(outcomes []outcome, limit int) *Answer {
	answer := &Answer{OK: true, Results: []Result{}, Groups: []Group{}, Notes: []string{}}
	var rows [][]json.RawMessage
	groups := map[string]*Group{}
	redacted, found, atLeast := 0, 0, false
	var unselected []string
	for _, outcome := range outcomes {
		for _, note := range outcome.notes {
			if !slices.Contains(answer.Notes, note) {
				answer.Notes = append(answer.Notes, note)
			}
		}
		redacted += outcome.redacted
		unselected = append(unselected, outcome.unselected...)
		for i, result := range outcome.results {
			rows = append(rows, r.shelf.take(outcome.shelved[i]))
			for key, count := range outcome.groups[i] {
				group := groups[key]
				if group == nil {
					group = &Group{Key: json.RawMessage(key)}
					groups[key] = group
				}
				group.Count += count
				if n := len(group.Accounts); n == 0 || group.Accounts[n-1] != result.AccountID { // an account's results stand together
					group.Accounts = append(group.Accounts, result.AccountID)
				}
			}
			if result.Count != nil {
				found += *result.Count
			}
			atLeast = atLeast || result.More
			answer.Coverage.add(result.Status)
			answer.Results = append(answer.Results, result)
		}
	}
	if found == 0 && len(unselected) > 0 {
		slices.Sort(unselected)
		unselected = slices.Compact(unselected)
		answer.note("select found no row, though responses hold something in %s: check its path, which begins at the whole response; if it filters, nothing matches",
			strings.Join(unselected[:min(len(unselected), 5)], ", "))
	}
	if r.groupBy != "" {
		if groups["null"] != nil && len(groups) == 1 {
			answer.note("group_by finds nothing in any row: it is a JMESPath on a row as it is shown, or account_id, account_name, environment, region")
		}
		answer.Groups = sortGroups(groups)
		answer.cutGroups(r.bridge.config.MaxBytes)
	}
	switch c := answer.Coverage; {
	case c.Answered == c.Targets:
	case c.Answered == 0:
		answer.note("no target answered: there is nothing to count")
	default:
		answer.note("partial: %d of %d targets did not answer; counts and groups cover the %d that did", c.Targets-c.Answered, c.Targets, c.Answered)
	}
	if atLeast {
		answer.Truncated = true
		answer.note("some accounts hold more than was read (results with more:true): their counts are lower bounds")
	}
	if r.bridge.config.Notes != nil {
		answer.Notes = append(answer.Notes, r.bridge.config.Notes()...)
	}
	switch {
	case redacted == 1:
		answer.note("1 value that may hold a secret was redacted")
	case redacted > 1:
		answer.note("%d values that may hold secrets were redacted", redacted)
	}
	r.fill(answer, rows, limit)
	return answer
}

// add counts one target.
func (c *Coverage) add(status Status) {
	c.Targets++
	switch status {
	case StatusOK:
		c.Answered++
	case StatusDenied:
		c.Denied++
	case StatusSkipped:
		c.Skipped++
	default:
		c.Failed++
	}
}

func (a *Answer) note(format string, args ...any) {
	a.Notes = append(a.Notes, fmt.Sprintf(format, args...))
}

func sortGroups(groups map[string]*Group) []Group {
	sorted := make([]Group, 0, len(groups))
	for _, group := range groups {
		sorted = append(sorted, *group)
	}
	slices.SortFunc(sorted, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count),
			cmp.Compare(string(a.Key.(json.RawMessage)), string(b.Key.(json.RawMessage))))
	})
	return sorted
}

// cutGroups leaves groups, and then accounts of groups, to a half of maxBytes each.
func (a *Answer) cutGroups(maxBytes int) {
	size, shown := 0, 0
	for _, group := range a.Groups[:min(len(a.Groups), MaxGroups)] {
		if size += len(group.Key.(json.RawMessage)) + len(`{"key":,"count":1000000,"accounts":[]},`); size > maxBytes/2 {
			break
		}
		shown++
	}
	if shown < len(a.Groups) {
		a.note("the %d largest of %d groups are shown", shown, len(a.Groups))
		a.Groups, a.Truncated = a.Groups[:shown], true
	}
	accounts, cut := make([][]AccountID, shown), false
	for i, group := range a.Groups {
		accounts[i] = group.Accounts
	}
	for i, n := range share(accounts, maxBytes/2, func(id AccountID) int { return len(id) + len(`"",`) }) {
		cut = cut || n < len(accounts[i])
		a.Groups[i].Accounts = accounts[i][:n]
	}
	if cut {
		a.Truncated = true
		a.note("some groups name only a part of their accounts; their counts are of all")
	}
}

// shortenErrors leaves of what targets say about their failure what fits for any number of them.
func (a *Answer) shortenErrors() {
	for _, result := range a.Results {
		if result.Error != nil {
			result.Error.Message, result.Error.Hint = clip(result.Error.Message, shortError), ""
		}
	}
	a.Truncated = true
	a.note("errors are shortened: so many do not fit into an answer; ask for fewer targets to read them")
}

// fill puts the rows into answer's results, fewer if limit or the size asks for it, and says so.
func (r *run) fill(answer *Answer, rows [][]json.RawMessage, limit int) {
	total, held := 0, 0
	for i, result := range answer.Results {
		if result.Status == StatusOK {
			answer.Results[i].Data = []json.RawMessage{}
			total += *result.Count
			held += len(rows[i])
		}
	}
	if limit > 0 && held > limit {
		for i, n := range share(rows, limit, func(json.RawMessage) int { return 1 }) {
			rows[i] = rows[i][:n]
		}
	}
	const spare = 200 // for the note on what was left out
	frame := r.size(answer)
	if frame > maxFrame {
		answer.shortenErrors()
		frame = r.size(answer)
	}
	shown := 0
	for i, n := range share(rows, r.bridge.config.MaxBytes-frame-spare, rowSize) {
		if answer.Results[i].Status == StatusOK {
			answer.Results[i].Data = append(answer.Results[i].Data, rows[i][:n]...)
			shown += n
		}
	}
	if shown < total {
		answer.Truncated = true
		more := "" // what to do about it: a limit was asked for
		if limit == 0 || shown < limit {
			more = "; to see more, select less of each"
		}
		answer.note("%d of %d rows are shown, left out evenly over the targets; counts are exact over what was read%s", shown, total, more)
	}
}

// rowSize is what a row adds to an answer.
func rowSize(row json.RawMessage) int { return len(row) + 1 }

// size is how many bytes answer has as it is.
func (r *run) size(answer *Answer) int {
	encoded, err := r.bridge.config.Encode(answer)
	if err != nil {
		return 0 // can't be: an Answer holds nothing that fails to marshal, and rows were marshalled before
	}
	return len(encoded)
}

// share says how many items of each list may be kept within budget. The lists take one each in
// turns; one whose next item no longer fits ends there.
func share[T any](lists [][]T, budget int, size func(T) int) []int {
	kept, open := make([]int, len(lists)), make([]int, len(lists))
	for i := range lists {
		open[i] = i
	}
	for level := 0; len(open) > 0; level++ {
		open = slices.DeleteFunc(open, func(i int) bool {
			if level == len(lists[i]) || size(lists[i][level]) > budget {
				return true
			}
			budget -= size(lists[i][level])
			kept[i]++
			return false
		})
	}
	return kept
}

// shelf keeps the rows of a query until all are there. It holds at most a few times what an answer
// can show, however much the accounts send: rows that the final cut can't keep are dropped early.
type shelf struct {
	maxBytes int

	mu    sync.Mutex
	lists [][]json.RawMessage
	bytes int
}

// put keeps rows and returns their number on the shelf.
func (s *shelf) put(rows []json.RawMessage) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists = append(s.lists, rows)
	for _, row := range rows {
		s.bytes += rowSize(row)
	}
	if s.bytes > 4*s.maxBytes {
		s.bytes = 0
		for i, n := range share(s.lists, 2*s.maxBytes, rowSize) {
			s.lists[i] = slices.Clone(s.lists[i][:n]) // lets go of the rest
			for _, row := range s.lists[i] {
				s.bytes += rowSize(row)
			}
		}
	}
	return len(s.lists) - 1
}

// take returns what is left of the rows with that number; none for a number below 0.
func (s *shelf) take(number int) []json.RawMessage {
	if number < 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists[number]
}
