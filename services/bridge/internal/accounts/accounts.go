// Package accounts reads the accounts that the bridge may be asked about from a DynamoDB table, for
// more of them than fit into a Lambda's environment.
//
// An item is an account: id (string, the partition key), name, environment (strings, optional), tags
// (map of strings, optional). The whole table is read, eventually consistent, at most once a
// minute; when that fails, or takes longer than a query can wait for it, what was read last holds.
package accounts

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/singleflight"

	"github.com/central-ops/central-ops/services/bridge"
)

const (
	ttl = time.Minute
	// patience bounds reading again what is held already, pause is from one that failed to the next: a query waits for it.
	patience = 2 * time.Second
	pause    = 10 * time.Second
)

// DynamoDB is what this package calls of it.
type DynamoDB interface {
	Scan(context.Context, *dynamodb.ScanInput, ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error)
}

// Fixed is a list of accounts that never changes.
type Fixed []bridge.Account

// Accounts implements bridge.Directory.
func (f Fixed) Accounts(context.Context) ([]bridge.Account, error) { return f, nil }

// Table is the accounts table. It is safe for concurrent use.
type Table struct {
	client DynamoDB
	name   string
	logger *slog.Logger
	flight singleflight.Group

	mu       sync.Mutex
	accounts []bridge.Account
	broken   int // items that are no accounts
	loaded   time.Time
}

var (
	_ bridge.Directory = Fixed(nil)
	_ bridge.Directory = (*Table)(nil)
)

// NewTable returns the table of that name, not read yet.
func NewTable(client DynamoDB, name string, logger *slog.Logger) *Table {
	return &Table{client: client, name: name, logger: logger}
}

// Accounts implements bridge.Directory: the table's accounts, sorted by id.
func (t *Table) Accounts(ctx context.Context) ([]bridge.Account, error) {
	t.mu.Lock()
	held, fresh := t.accounts, time.Since(t.loaded) < ttl
	t.mu.Unlock()
	if held != nil && fresh {
		return held, nil
	}
	loaded, err, _ := t.flight.Do("", func() (any, error) {
		bounded, cancel := ctx, context.CancelFunc(func() {})
		if held != nil {
			bounded, cancel = context.WithTimeout(ctx, patience)
		}
		defer cancel()
		return t.read(bounded)
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		if t.accounts == nil {
			return nil, &bridge.Error{Op: "read accounts table " + t.name, Code: bridge.Unavailable, Err: err, Hint: "check ACCOUNTS_TABLE and the bridge's right to dynamodb:Scan it"}
		}
		t.logger.WarnContext(ctx, "accounts table not read, the last accounts hold", "error", err)
		t.loaded = time.Now().Add(pause - ttl)
		return t.accounts, nil
	}
	found := loaded.(contents)
	t.accounts, t.broken, t.loaded = found.accounts, found.broken, time.Now()
	return t.accounts, nil
}

// Notes says what an answer about all accounts leaves out: nil for nothing.
func (t *Table) Notes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch t.broken {
	case 0:
		return nil
	case 1:
		return []string{"1 item of the accounts table is no account and was left out; the bridge's log has the reason"}
	default:
		return []string{fmt.Sprintf("%d items of the accounts table are no accounts and were left out; the bridge's log has the reasons", t.broken)}
	}
}

// contents are what the table was found to hold.
type contents struct {
	accounts []bridge.Account
	broken   int
}

func (t *Table) read(ctx context.Context) (contents, error) {
	accounts, broken := []bridge.Account{}, 0
	pages := dynamodb.NewScanPaginator(t.client, &dynamodb.ScanInput{TableName: &t.name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return contents{}, err
		}
		for _, item := range page.Items {
			account, err := read(item)
			if err != nil { // an item that can't be read must not be left out in silence, nor stop the rest
				t.logger.ErrorContext(ctx, "accounts table holds an item that is no account", "error", err)
				broken++
				continue
			}
			accounts = append(accounts, account)
		}
	}
	slices.SortFunc(accounts, func(a, b bridge.Account) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return contents{accounts, broken}, nil
}

func read(item map[string]types.AttributeValue) (bridge.Account, error) {
	id, err := bridge.ParseAccountID(text(item["id"]))
	if err != nil {
		return bridge.Account{}, fmt.Errorf("attribute id: %w", err)
	}
	account := bridge.Account{ID: id, Name: text(item["name"]), Environment: text(item["environment"])}
	if tags, ok := item["tags"].(*types.AttributeValueMemberM); ok && len(tags.Value) > 0 {
		account.Tags = make(map[string]string, len(tags.Value))
		for key, value := range tags.Value {
			account.Tags[key] = text(value)
		}
	}
	return account, nil
}

// text returns a string attribute's value, "" for anything else.
func text(value types.AttributeValue) string {
	if s, ok := value.(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}
