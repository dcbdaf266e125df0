package sessions

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// table keeps items as DynamoDB does, deletes none when they expire, and knows the one condition.
type table struct {
	t     *testing.T
	items map[string]map[string]types.AttributeValue
	err   error
	hang  bool
}

func (d *table) GetItem(ctx context.Context, in *dynamodb.GetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	if d.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if *in.TableName != "sessions" || in.ConsistentRead == nil || !*in.ConsistentRead {
		d.t.Errorf("GetItem of %s, consistent %v", *in.TableName, in.ConsistentRead)
	}
	return &dynamodb.GetItemOutput{Item: d.items[in.Key["pk"].(*types.AttributeValueMemberS).Value]}, d.err
}

func (d *table) PutItem(_ context.Context, in *dynamodb.PutItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	if *in.ConditionExpression != "attribute_not_exists(#pk) OR #expires < :now OR #id = :dead" {
		d.t.Errorf("condition %q", *in.ConditionExpression)
	}
	if d.err != nil {
		return nil, d.err
	}
	key := in.Item["pk"].(*types.AttributeValueMemberS).Value
	if old, ok := d.items[key]; ok {
		expires, _ := strconv.ParseInt(old["expires_at"].(*types.AttributeValueMemberN).Value, 10, 64)
		now, _ := strconv.ParseInt(in.ExpressionAttributeValues[":now"].(*types.AttributeValueMemberN).Value, 10, 64)
		dead := in.ExpressionAttributeValues[":dead"].(*types.AttributeValueMemberS).Value
		if expires >= now && old["mcp_session_id"].(*types.AttributeValueMemberS).Value != dead {
			return nil, &types.ConditionalCheckFailedException{Item: old}
		}
	}
	d.items[key] = in.Item
	return &dynamodb.PutItemOutput{}, nil
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		database := &table{t: t, items: map[string]map[string]types.AttributeValue{}}
		sessions := New(database, "sessions")
		load := func(want string) {
			t.Helper()
			if got, err := sessions.Load(t.Context(), "role"); got != want || err != nil {
				t.Errorf("loaded %q, want %q (%v)", got, want, err)
			}
		}
		replace := func(dead, id, want string) {
			t.Helper()
			if got, err := sessions.Replace(t.Context(), "role", dead, id); got != want || err != nil {
				t.Errorf("replaced %q by %q: %q is kept, want %q (%v)", dead, id, got, want, err)
			}
			load(want)
		}
		load("")
		replace("", "a", "a")
		replace("", "b", "a")  // somebody was faster with the first
		replace("a", "b", "b") // a is dead
		replace("a", "c", "b") // somebody has noticed before
		replace("b", "b", "b") // no harm
		if got, _ := sessions.Load(t.Context(), "another role"); got != "" {
			t.Errorf("another role's session is %q", got)
		}
		time.Sleep(keep + 2*time.Second) // expired, but not deleted yet
		load("")
		replace("", "d", "d")
	})
}

func TestTableOutOfOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		sessions := New(&table{t: t, err: down}, "sessions")
		if _, err := sessions.Load(t.Context(), "role"); !errors.Is(err, down) {
			t.Errorf("Load: %v", err)
		}
		if _, err := sessions.Replace(t.Context(), "role", "", "a"); !errors.Is(err, down) {
			t.Errorf("Replace: %v", err)
		}
		begun := time.Now()
		if _, err := New(&table{t: t, hang: true}, "sessions").Load(t.Context(), "role"); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != patience {
			t.Errorf("a table that hangs: %v after %v, want %v", err, time.Since(begun), patience)
		}
	})
}
