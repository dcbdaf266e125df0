package accounts

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"github.com/central-ops/central-ops/services/bridge"
)

// table answers a Scan a page an item.
type table struct {
	items []map[string]types.AttributeValue
	scans int
	err   error
	hangs bool
}

func (d *table) Scan(ctx context.Context, in *dynamodb.ScanInput, _ ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error) {
	if d.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if d.err != nil {
		return nil, d.err
	}
	n := 0
	if in.ExclusiveStartKey == nil {
		d.scans++
	} else {
		id := in.ExclusiveStartKey["id"].(*types.AttributeValueMemberS).Value
		for text(d.items[n]["id"]) != id {
			n++
		}
		n++
	}
	out := &dynamodb.ScanOutput{}
	if n < len(d.items) {
		out.Items = d.items[n : n+1]
	}
	if n+1 < len(d.items) {
		out.LastEvaluatedKey = map[string]types.AttributeValue{"id": d.items[n]["id"]}
	}
	return out, nil
}

func item(id string, more ...string) map[string]types.AttributeValue {
	out := map[string]types.AttributeValue{"id": &types.AttributeValueMemberS{Value: id}}
	for i := 0; i+1 < len(more); i += 2 {
		out[more[i]] = &types.AttributeValueMemberS{Value: more[i+1]}
	}
	return out
}

func TestTable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tagged := item("222222222222", "name", "Production", "environment", "prod")
		tagged["tags"] = &types.AttributeValueMemberM{Value: map[string]types.AttributeValue{"team": &types.AttributeValueMemberS{Value: "shop"}}}
		database := &table{items: []map[string]types.AttributeValue{tagged, item("not an id"), item("111111111111")}}
		var log bytes.Buffer
		accounts := NewTable(database, "accounts", slog.New(slog.NewTextHandler(&log, nil)))
		want := []bridge.Account{{ID: "111111111111"}, {ID: "222222222222", Name: "Production", Environment: "prod", Tags: map[string]string{"team": "shop"}}}
		read := func() {
			t.Helper()
			got, err := accounts.Accounts(t.Context())
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		}
		read()
		if !strings.Contains(log.String(), "not an id") {
			t.Errorf("the broken item was left out in silence: %s", &log)
		}
		database.items = []map[string]types.AttributeValue{item("333333333333")}
		time.Sleep(ttl - time.Second)
		read() // what was read a minute ago
		if database.scans != 1 {
			t.Errorf("%d scans within a minute, want 1", database.scans)
		}
		time.Sleep(time.Second)
		want = []bridge.Account{{ID: "333333333333"}}
		read()
		database.err = errors.New("down")
		time.Sleep(ttl)
		read() // what was read last
		if !strings.Contains(log.String(), "the last accounts hold") {
			t.Errorf("that it failed is not logged: %s", &log)
		}
		database.hangs = true
		time.Sleep(pause)
		for _, most := range []time.Duration{patience, 0} { // the second time nobody waits
			start := time.Now()
			read()
			if took := time.Since(start); took > most {
				t.Errorf("waited %s for what is held already, want at most %s", took, most)
			}
		}
		database.hangs, database.err, database.items = false, nil, nil
		time.Sleep(pause)
		want = []bridge.Account{}
		read()
	})
}

func TestTableThatWasNeverRead(t *testing.T) {
	t.Parallel()
	_, err := NewTable(&table{err: errors.New("AccessDenied")}, "accounts", slog.New(slog.DiscardHandler)).Accounts(t.Context())
	var known *bridge.Error
	if !errors.As(err, &known) || known.Code != bridge.Unavailable || !strings.Contains(known.Hint, "dynamodb:Scan") || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("%v", err)
	}
}
