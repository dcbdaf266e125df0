package bridge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// MaxSelectors bounds how many selectors one query may carry.
const MaxSelectors = 1000

// SelectAccounts returns the accounts that selectors name, each once, in the order asked for.
//
// A selector is an account id, an account name (exact, or else the only one that is equal when
// case is ignored), "env:" and an environment, or "all". visible says which accounts may be named
// to this person in an error: nobody learns a name from a typing mistake.
//
// It returns an invalid error for an empty list, a malformed id or an ambiguous name, and
// not_found for what names no account.
func SelectAccounts(accounts []Account, selectors []string, visible func(Account) bool) ([]Account, error) {
	const op = "select accounts"
	if len(selectors) == 0 {
		return nil, &Error{Op: op, Code: Invalid, Err: fmt.Errorf("accounts is empty"),
			Hint: `name accounts by id or name, or use "env:<environment>" or "all"`}
	}
	if len(selectors) > MaxSelectors {
		return nil, &Error{Op: op, Code: Invalid, Err: fmt.Errorf("%d selectors, at most %d are taken", len(selectors), MaxSelectors),
			Hint: `use "all" or "env:<environment>" instead of a list`}
	}
	seen := map[AccountID]bool{}
	var selected []Account
	add := func(account Account) {
		if !seen[account.ID] {
			seen[account.ID] = true
			selected = append(selected, account)
		}
	}
	for _, raw := range selectors {
		selector := strings.TrimSpace(raw)
		environment, isEnvironment := cutPrefixFold(selector, "env:")
		switch {
		case selector == "":
			return nil, &Error{Op: op, Code: Invalid, Err: fmt.Errorf("accounts holds an empty selector"),
				Hint: `name accounts by id or name, or use "env:<environment>" or "all"`}
		case strings.EqualFold(selector, "all"):
			for _, account := range accounts {
				add(account)
			}
		case isEnvironment:
			matched := false
			for _, account := range accounts {
				if account.Environment != "" && strings.EqualFold(account.Environment, environment) {
					add(account)
					matched = true
				}
			}
			if !matched {
				return nil, &Error{Op: op, Code: NotFound, Err: fmt.Errorf("no account has environment %q", clip(environment, 80)),
					Hint: known("environments", environments(accounts, visible))}
			}
		case strings.Trim(selector, "0123456789") == "":
			id, err := ParseAccountID(selector)
			if err != nil {
				return nil, err
			}
			i := slices.IndexFunc(accounts, func(a Account) bool { return a.ID == id })
			if i < 0 {
				return nil, &Error{Op: op, Account: id, Code: NotFound, Err: fmt.Errorf("account %s is not one this bridge knows", id),
					Hint: "list_accounts shows the accounts you may query"}
			}
			add(accounts[i])
		default:
			account, err := byName(accounts, selector, visible)
			if err != nil {
				return nil, err
			}
			add(account)
		}
	}
	if len(selected) == 0 {
		return nil, &Error{Op: op, Code: NotFound, Err: fmt.Errorf("no accounts are configured"),
			Hint: "set TARGET_ACCOUNTS, or fill the accounts table"}
	}
	return selected, nil
}

func byName(accounts []Account, name string, visible func(Account) bool) (Account, error) {
	const op = "select accounts"
	exact := slices.DeleteFunc(slices.Clone(accounts), func(a Account) bool { return a.Name != name })
	if len(exact) == 0 {
		exact = slices.DeleteFunc(slices.Clone(accounts), func(a Account) bool { return !strings.EqualFold(a.Name, name) })
	}
	switch len(exact) {
	case 1:
		return exact[0], nil
	case 0:
		var names []string
		for _, account := range accounts {
			if account.Name != "" && visible(account) {
				names = append(names, account.Name)
			}
		}
		hint := "list_accounts shows the accounts you may query"
		if near := Nearest(name, names, 3); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, ", ") + "? " + hint
		}
		return Account{}, &Error{Op: op, Code: NotFound, Err: fmt.Errorf("no account is named %q", clip(name, 80)), Hint: hint}
	}
	ids := make([]string, len(exact))
	for i, account := range exact {
		ids[i] = string(account.ID)
	}
	return Account{}, &Error{Op: op, Code: Invalid, Err: fmt.Errorf("%q names %d accounts", clip(name, 80), len(exact)),
		Hint: "use one of the ids " + strings.Join(ids, ", ")}
}

func environments(accounts []Account, visible func(Account) bool) []string {
	var names []string
	for _, account := range accounts {
		if account.Environment != "" && visible(account) {
			names = append(names, account.Environment)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// SelectRegions returns the Regions that a query names, each once, in the order asked for; all
// is true if it asks for every Region that an account has enabled besides. home is
// what an empty list means. known are the Regions there are; an unknown one is not_found.
func SelectRegions(regions []string, home string, known []string, nearest func(string) []string) (selected []string, all bool, err error) {
	if len(regions) == 0 {
		return []string{home}, false, nil
	}
	if len(regions) > MaxSelectors {
		return nil, false, &Error{Op: "select regions", Code: Invalid, Err: fmt.Errorf("%d Regions, at most %d are taken", len(regions), MaxSelectors),
			Hint: `use "all" for every Region`}
	}
	for _, raw := range regions {
		region := strings.ToLower(strings.TrimSpace(raw))
		if region == AllRegions {
			all = true
			continue
		}
		if region != home && !slices.Contains(known, region) {
			hint := `name a Region such as us-east-1, or "all"`
			if near := nearest(region); len(near) > 0 {
				hint = "did you mean " + strings.Join(near, ", ") + "?"
			}
			return nil, false, &Error{Op: "select regions", Code: NotFound, Err: fmt.Errorf("no Region is called %q", clip(raw, 80)), Hint: hint}
		}
		if !slices.Contains(selected, region) {
			selected = append(selected, region)
		}
	}
	return selected, all, nil
}

// Nearest returns up to n of candidates that resemble word, the best first: those that contain it
// or that few edits turn into it. Case is ignored.
func Nearest(word string, candidates []string, n int) []string {
	word = strings.ToLower(word)
	if word == "" || len(word) > 100 {
		return nil
	}
	type scored struct {
		text     string
		distance int
	}
	var near []scored
	for _, candidate := range candidates {
		lower := strings.ToLower(candidate)
		distance := edits(word, lower)
		if strings.Contains(lower, word) || strings.Contains(word, lower) {
			distance = min(distance, 2)
		}
		if distance <= max(2, len(word)/3) {
			near = append(near, scored{candidate, distance})
		}
	}
	slices.SortStableFunc(near, func(a, b scored) int { return cmp.Compare(a.distance, b.distance) })
	var texts []string
	for _, s := range near {
		if !slices.Contains(texts, s.text) && len(texts) < n {
			texts = append(texts, s.text)
		}
	}
	return texts
}

// edits is the Levenshtein distance of a and b, by bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal, row[j] = row[j], min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

func known(what string, names []string) string {
	if len(names) == 0 {
		return "list_accounts shows the accounts you may query"
	}
	return "known " + what + ": " + strings.Join(names, ", ")
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return strings.TrimSpace(s[len(prefix):]), true
	}
	return "", false
}
