package operations

import (
	"cmp"
	"slices"
	"strings"

	"github.com/central-ops/central-ops/services/bridge/internal/operations/record"
)

const (
	// maxNearest is how many names an error offers.
	maxNearest = 5
	// maxCompared is the length beyond which a value is compared by its beginning only: no name in
	// the table is longer, and the cost of a comparison grows with both lengths.
	maxCompared = 80
)

// nearest returns at most maxNearest of the names, those of the least edit distance to the folded
// value first, equals in alphabetical order. Names that differ in more than half of their letters
// are left out, unless one holds the other.
func nearest(folded string, names []string) []string {
	if len(folded) > maxCompared {
		folded = folded[:maxCompared]
	}
	type candidate struct {
		name string
		far  int
	}
	var found []candidate
	for _, n := range names {
		f := record.Fold(n)
		far := distance(folded, f)
		switch {
		case far > 1 && sameNoun(folded, f):
			far = 1
		case len(folded) >= 3 && len(f) >= 3 && (strings.Contains(f, folded) || strings.Contains(folded, f)):
			far = min(far, 2)
		case 2*far > max(len(f), len(folded)):
			continue
		}
		found = append(found, candidate{n, far})
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.far, b.far), cmp.Compare(a.name, b.name))
	})
	var out []string
	for _, c := range found {
		if len(out) < maxNearest && !slices.Contains(out, c.name) {
			out = append(out, c.name)
		}
	}
	return out
}

// sameNoun says whether two names differ in their verb of reading only, as ListInstances and
// DescribeInstances do: the commonest way to guess an operation wrong.
func sameNoun(a, b string) bool {
	noun := func(s string) string {
		for _, verb := range []string{"list", "describe", "get"} {
			if rest, ok := strings.CutPrefix(s, verb); ok {
				return rest
			}
		}
		return ""
	}
	return noun(a) != "" && noun(a) == noun(b)
}

// distance is the number of letters to insert, delete, replace or swap with their neighbour to
// make b from a (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
