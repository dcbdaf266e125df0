package operations

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/central-ops/central-ops/services/bridge/internal/operations/record"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := lineDiff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); after a regeneration read this diff, then run go test -update:\n%s", name, diff)
	}
}

// lineDiff lists the lines that only one of two texts has. The package and its tests use the
// standard library only, so that the table can be regenerated and checked in an empty module.
func lineDiff(want, got string) string {
	count := map[string]int{}
	for line := range strings.Lines(want) {
		count["-"+line]++
	}
	for line := range strings.Lines(got) {
		if count["-"+line] > 0 {
			count["-"+line]--
		} else {
			count["+"+line]++
		}
	}
	var out strings.Builder
	for _, line := range slices.Sorted(maps.Keys(count)) {
		out.WriteString(strings.Repeat(line, count[line]))
	}
	return out.String()
}

func optIn(string, string) bool { return true }

// each calls f with every operation of every service.
func each(tb *Table, f func(op Operation)) {
	for _, s := range tb.Services() {
		for _, op := range tb.Operations(s) {
			f(op)
		}
	}
}

// mutating are the verbs that no allowed operation's name may begin with.
var mutating = regexp.MustCompile(`^(?:Batch)?(?:Accept|Activate|Add|Admin(?:Add|Create|Confirm|Delete|Disable|Enable|Forget|Initiate|Link|Remove|Reset|Respond|Set|Update)|Allocate|Apply|Approve|Assign|Associate|Assume|Attach|Authorize|Cancel|Complete|Confirm|Copy|Create|Deactivate|Decrypt|Delete|Deploy|Deregister|Detach|Disable|Disassociate|Enable|Encrypt|Execute|Export|Generate|Import|Initiate|Invite|Invoke|Issue|Lock|Merge|Modify|Move|Poll|Publish|Purchase|Purge|Put|Reboot|Rebuild|Receive|Register|Reject|Release|Remove|Replace|Request|Reset|Resize|Resolve|Restart|Restore|Resume|Retry|Revoke|Rotate|Run|Send|Set|Sign|Start|Stop|Submit|Subscribe|Suspend|Swap|Sync|Tag|Terminate|Transfer|Unassign|Unlock|Unsubscribe|Untag|Update|Upgrade|Upload|Write)(?:[A-Z0-9]|$)`)

// TestSweep walks every operation. It trusts nothing but the stored access levels and the name.
func TestSweep(t *testing.T) {
	t.Parallel()
	tb := Load()
	n := 0
	each(tb, func(op Operation) {
		n++
		s := tb.services[tb.index().byName[record.Fold(op.Service)]]()
		stored := s.Operations[s.byName[record.Fold(op.Name)]]
		plain, opted := tb.Classify(op, nil, nil), tb.Classify(op, nil, optIn)
		if plain.Allowed && !opted.Allowed {
			t.Errorf("%s: opting in refuses what is allowed", op)
		}
		if !plain.Allowed && (plain.Category == "" || plain.Reason == "" || plain.Hint == "") {
			t.Errorf("%s: refused without category, reason or hint: %+v", op, plain)
		}
		if !opted.Allowed {
			return
		}
		if stored.Levels == "" || strings.Trim(stored.Levels, "LR") != "" {
			t.Errorf("%s: allowed with access levels %q (%s)", op, stored.Levels, strings.Join(op.Actions, ", "))
		}
		if len(op.Actions) != len(stored.Levels) {
			t.Errorf("%s: %d actions but %d levels", op, len(op.Actions), len(stored.Levels))
		}
		if !op.ReadOnly || op.AccessLevel != "List" && op.AccessLevel != "Read" {
			t.Errorf("%s: allowed with ReadOnly %v, AccessLevel %s", op, op.ReadOnly, op.AccessLevel)
		}
		if mutating.MatchString(op.Name) {
			t.Errorf("%s: allowed although its name says that it does something", op)
		}
		if plain.Allowed && opted.Category != "" {
			t.Errorf("%s: a plain read has category %q when opted in", op, opted.Category)
		}
	})
	if n < 18000 {
		t.Errorf("the table has %d operations, want all 18,000 and more", n)
	}
}

// TestOperationsNeedNoWriteAction checks the mapped actions against what other operations of the
// same action say of its level, so that a wrong mapping shows.
func TestOperationsNeedNoWriteAction(t *testing.T) {
	t.Parallel()
	tb := Load()
	levelOf := map[string]string{}
	each(tb, func(op Operation) {
		if len(op.Actions) == 1 {
			levelOf[op.Actions[0]] = op.AccessLevel
		}
	})
	each(tb, func(op Operation) {
		for _, a := range op.Actions {
			if level := levelOf[a]; tb.Classify(op, nil, optIn).Allowed && level != "" && level != "List" && level != "Read" {
				t.Errorf("%s needs %s, which another operation has as %s", op, a, level)
			}
		}
	})
}

// TestGolden holds the whole outcome: how many operations of each service are in which category,
// and every operation that is refused although its access level is not what refuses it.
func TestGolden(t *testing.T) {
	t.Parallel()
	tb := Load()
	var counts, refused strings.Builder
	total := map[string]int{}
	categories := []string{"", CategoryData, CategoryCredentials, CategorySecrets, CategoryEffect, CategoryUnmapped, CategoryWrite}
	line := func(name string, n map[string]int) {
		fmt.Fprintf(&counts, "%-40s", name)
		for _, c := range categories {
			fmt.Fprintf(&counts, " %5d", n[c])
		}
		counts.WriteString("\n")
	}
	fmt.Fprintf(&counts, "%-40s  read  data cred. secr. effec unmap write\n", "service")
	byCategory := map[string][]string{}
	for _, s := range tb.Services() {
		n := map[string]int{}
		for _, op := range tb.Operations(s) {
			c := tb.Classify(op, nil, nil).Category
			n[c]++
			total[c]++
			if c != "" && c != CategoryWrite {
				byCategory[c] = append(byCategory[c], op.String())
			}
		}
		line(s, n)
	}
	line("all", total)
	for _, c := range slices.Sorted(maps.Keys(byCategory)) {
		for _, op := range byCategory[c] {
			fmt.Fprintf(&refused, "%-12s %s\n", c, op)
		}
	}
	golden(t, "counts.golden", counts.String())
	golden(t, "refused.golden", refused.String())
}

// TestRefusedByName reads testdata/refuse.txt: what nobody may ever call, with any parameters and
// whatever the configuration says.
func TestRefusedByName(t *testing.T) {
	t.Parallel()
	tb := Load()
	text, err := os.ReadFile("testdata/refuse.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		n++
		service, name, _ := strings.Cut(fields[1], ":")
		op, err := tb.Resolve(service, name)
		if err != nil {
			t.Errorf("%s: %v", fields[1], err)
			continue
		}
		if got := tb.Classify(op, nil, optIn); got.Allowed || got.Category != fields[0] {
			t.Errorf("%s: got %+v, want refused as %s", op, got, fields[0])
		}
	}
	if n < 60 {
		t.Errorf("refuse.txt names %d operations", n)
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	tb := Load()
	only := func(allowed string) func(string, string) bool {
		return func(service, operation string) bool { return service+":"+operation == allowed }
	}
	for _, tt := range []struct {
		name     string
		op       string
		params   map[string]any
		optIn    func(string, string) bool
		allowed  bool
		category string
	}{
		{"a plain read", "ec2:DescribeInstances", nil, nil, true, ""},
		{"a list by another action", "s3:ListBuckets", nil, nil, true, ""},
		{"a read by HTTP method", "apigateway:GetRestApis", nil, nil, true, ""},
		{"the caller's own name", "sts:GetCallerIdentity", nil, nil, true, ""},
		{"a write", "ec2:TerminateInstances", nil, optIn, false, CategoryWrite},
		{"a write without a known action", "s3:CopyObject", nil, optIn, false, CategoryWrite},
		{"a read without a known action", "codecatalyst:ListProjects", nil, optIn, false, CategoryUnmapped},
		{"an effect at level Read", "logs:StartQuery", nil, optIn, false, CategoryEffect},
		{"messages are hidden by reading", "sqs:ReceiveMessage", nil, optIn, false, CategoryEffect},
		{"data without configuration", "s3:GetObject", nil, nil, false, CategoryData},
		{"data opted in", "s3:GetObject", nil, only("s3:GetObject"), true, CategoryData},
		{"another operation opted in", "s3:GetObject", nil, only("dynamodb:GetItem"), false, CategoryData},
		{"keys without values", "apigateway:GetApiKeys", map[string]any{"includeValues": false}, nil, true, ""},
		{"keys with values", "apigateway:GetApiKeys", map[string]any{"includeValues": true}, optIn, false, CategorySecrets},
		{"values asked for by a string", "apigateway:GetApiKeys", map[string]any{"includeValues": "true"}, optIn, false, CategorySecrets},
		{"values asked for in capitals", "apigateway:GetApiKeys", map[string]any{"IncludeValues": true}, optIn, false, CategorySecrets},
		{"an attribute of an instance", "ec2:DescribeInstanceAttribute", map[string]any{"Attribute": "instanceType"}, nil, true, ""},
		{"user data of an instance", "ec2:DescribeInstanceAttribute", map[string]any{"Attribute": "UserData"}, optIn, false, CategorySecrets},
		{"a connection with its password", "glue:GetConnection", map[string]any{"Name": "x"}, optIn, false, CategorySecrets},
		{"a connection without", "glue:GetConnection", map[string]any{"Name": "x", "HidePassword": true}, nil, true, ""},
		{"a parameter", "ssm:GetParameter", map[string]any{"Name": "/prod/db"}, nil, false, CategoryData},
		{"a parameter opted in", "ssm:GetParameter", map[string]any{"Name": "/prod/db"}, optIn, true, CategoryData},
		{"a parameter decrypted", "ssm:GetParameter", map[string]any{"Name": "/prod/db", "WithDecryption": true}, optIn, false, CategorySecrets},
		{"a public parameter", "ssm:GetParameter", map[string]any{"Name": "/aws/service/ami/x"}, nil, true, ""},
		{"a public parameter decrypted", "ssm:GetParameter", map[string]any{"Name": "/aws/service/ami/x", "WithDecryption": true}, nil, false, CategorySecrets},
		{"a public name beside another", "ssm:GetParameter", map[string]any{"name": "/aws/service/ami/x", "Name": "/prod/db"}, nil, false, CategoryData},
		{"public and other parameters", "ssm:GetParameters", map[string]any{"Names": []any{"/aws/service/a", "/prod/db"}}, nil, false, CategoryData},
		{"public parameters by path", "ssm:GetParametersByPath", map[string]any{"Path": "/aws/service/ecs"}, nil, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			service, name, _ := strings.Cut(tt.op, ":")
			op, err := tb.Resolve(service, name)
			if err != nil {
				t.Fatal(err)
			}
			if got := tb.Classify(op, tt.params, tt.optIn); got.Allowed != tt.allowed || got.Category != tt.category {
				t.Errorf("got %+v, want allowed %v, category %q", got, tt.allowed, tt.category)
			}
		})
	}
	if got := tb.Classify(Operation{}, nil, optIn); got.Allowed {
		t.Error("the zero operation is allowed")
	}
}

// TestFiles checks what the generator promised about its files: that they belong together, name
// their sources, and were made from the packages that the generator pins now.
func TestFiles(t *testing.T) {
	t.Parallel()
	var x record.Index
	if err := json.Unmarshal(indexText, &x); err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(tableText); hex.EncodeToString(sum[:]) != x.TableSHA256 {
		t.Errorf("table.bin has digest %x, index.json says %s: run go generate", sum, x.TableSHA256)
	}
	hand := sha256.New()
	paths, err := filepath.Glob("gen/*.txt") // sorted
	if err != nil || len(paths) != 5 {
		t.Fatalf("hand-kept files: %q, %v", paths, err)
	}
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		hand.Write(text)
	}
	if got := hex.EncodeToString(hand.Sum(nil)); got != x.HandSHA256 {
		t.Errorf("gen/*.txt have digest %s, index.json was made from %s: run go generate", got, x.HandSHA256)
	}
	pinned, err := os.ReadFile("gen/sources.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range x.Sources {
		if !strings.Contains(string(pinned), s.SHA256) || !strings.Contains(string(pinned), fmt.Sprintf("%q, Version: %q", s.Package, s.Version)) {
			t.Errorf("index.json was made from %s %s, which gen/sources.go does not pin: run go generate", s.Package, s.Version)
		}
	}
	if len(x.Sources) != 3 {
		t.Errorf("index.json names %d sources, want 3", len(x.Sources))
	}
	if size := len(indexText) + len(tableText); size > 600_000 {
		t.Errorf("the embedded data has %d bytes, want 600,000 at most", size)
	}
	end := 0
	for _, e := range x.Services {
		if e.Offset != end {
			t.Errorf("%s begins at %d, want %d", e.Name, e.Offset, end)
		}
		end += e.Length
	}
	if end != len(tableText) {
		t.Errorf("the services end at %d, table.bin at %d", end, len(tableText))
	}
}

func TestTargetRoleDenies(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../target-role-denies.json")
	if err != nil {
		t.Fatal(err)
	}
	var denies map[string][]string
	if err := json.Unmarshal(text, &denies); err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(denies)); !slices.Equal(got, []string{"credentials", "data", "secrets"}) {
		t.Errorf("categories are %q", got)
	}
	tb := Load()
	for category, patterns := range denies {
		for _, p := range patterns {
			if !regexp.MustCompile(`^[a-z0-9-]+:[A-Za-z0-9]+\*?$`).MatchString(p) {
				t.Errorf("%s: %q is not an action with at most one * at its end", category, p)
			}
		}
	}
	all := slices.Concat(denies["credentials"], denies["secrets"], denies["data"])
	each(tb, func(op Operation) {
		allowed := tb.Classify(op, nil, nil).Allowed
		for _, a := range op.Actions {
			if allowed && covers(all, a) {
				t.Errorf("%s is allowed, but its action %s is denied", op, a)
			}
		}
	})
	for _, a := range []string{
		"secretsmanager:GetSecretValue", "kms:Decrypt", "kms:GenerateDataKey", "ssm:GetParameters", "s3:GetObject", "dynamodb:Scan",
		"dynamodb:PartiQLSelect", "sqs:ReceiveMessage", "kinesis:GetRecords", "lambda:GetFunction", "ecr:GetAuthorizationToken",
		"ecr:BatchGetImage", "codecommit:GitPull", "codeartifact:GetAuthorizationToken", "athena:GetQueryResults", "ec2:GetPasswordData",
		"ec2:GetConsoleOutput", "cognito-identity:GetCredentialsForIdentity", "es:ESHttpGet", "connect:GetFederationToken", "sts:AssumeRole",
		"sts:GetSessionToken", "gamelift:GetInstanceAccess", "glacier:GetJobOutput", "cognito-idp:DescribeUserPoolClient", "appconfig:GetConfiguration",
	} {
		if !covers(all, a) {
			t.Errorf("%s is not denied", a)
		}
	}
}

// covers says whether one of the patterns matches the action as IAM matches.
func covers(patterns []string, action string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		prefix, wild := strings.CutSuffix(p, "*")
		return strings.EqualFold(p, action) || wild && strings.HasPrefix(strings.ToLower(action), strings.ToLower(prefix))
	})
}
