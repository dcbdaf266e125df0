// Package sessions shares MCP session ids between execution environments through a DynamoDB table,
// so that a second environment finds the sandboxes of the first one warm.
//
// An item: pk (string, the partition key: role ARN, session name and endpoint), mcp_session_id
// (string), expires_at (number, seconds since 1970; the table's TTL attribute). A dead session is
// taken over by a conditional write on the id that was found dead: of many environments that notice
// at once, one wins, and the others use what it wrote. A session id is of no use without
// credentials of its role.
package sessions

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

const (
	keyAttribute     = "pk"
	idAttribute      = "mcp_session_id"
	expiresAttribute = "expires_at"

	// keep is how long an id is worth trying: a sandbox's storage is kept for 8 hours at most
	// (https://docs.aws.amazon.com/agent-toolkit/latest/userguide/aws-mcp-limits.html).
	keep = 8 * time.Hour
	// patience bounds one call to the table: it is there to save time.
	patience = 2 * time.Second
)

// DynamoDB is what this package calls of it.
type DynamoDB interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
}

// Table is the session table. It is safe for concurrent use.
type Table struct {
	client DynamoDB
	name   string
}

// New returns the table of that name.
func New(client DynamoDB, name string) *Table { return &Table{client, name} }

// Load returns the id kept under key, "" if there is none that is worth trying.
func (t *Table) Load(ctx context.Context, key string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	output, err := t.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &t.name, ConsistentRead: aws.Bool(true),
		Key: map[string]types.AttributeValue{keyAttribute: text(key)},
	})
	if err != nil {
		return "", err
	}
	return read(output.Item), nil
}

// Replace keeps id under key if dead is what is kept there ("" for nothing), and returns what is
// kept afterwards.
func (t *Table) Replace(ctx context.Context, key, dead, id string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	now := time.Now()
	input := &dynamodb.PutItemInput{
		TableName: &t.name,
		Item: map[string]types.AttributeValue{
			keyAttribute: text(key), idAttribute: text(id), expiresAttribute: seconds(now.Add(keep)),
		},
		// DynamoDB deletes expired items late; until it does, they count as absent.
		ConditionExpression:                 aws.String("attribute_not_exists(#pk) OR #expires < :now OR #id = :dead"),
		ExpressionAttributeNames:            map[string]string{"#pk": keyAttribute, "#id": idAttribute, "#expires": expiresAttribute},
		ExpressionAttributeValues:           map[string]types.AttributeValue{":now": seconds(now), ":dead": text(dead)},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	_, err := t.client.PutItem(ctx, input)
	var faster *types.ConditionalCheckFailedException
	if errors.As(err, &faster) {
		if kept := read(faster.Item); kept != "" {
			return kept, nil
		}
		return t.Load(ctx, key)
	}
	if err != nil {
		return "", err
	}
	return id, nil
}

// read returns the id in item, "" if it has expired or there is none.
func read(item map[string]types.AttributeValue) string {
	if expires, ok := item[expiresAttribute].(*types.AttributeValueMemberN); ok {
		if at, err := strconv.ParseInt(expires.Value, 10, 64); err == nil && at < time.Now().Unix() {
			return ""
		}
	}
	if id, ok := item[idAttribute].(*types.AttributeValueMemberS); ok {
		return id.Value
	}
	return ""
}

func text(value string) *types.AttributeValueMemberS {
	return &types.AttributeValueMemberS{Value: value}
}

func seconds(at time.Time) *types.AttributeValueMemberN {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(at.Unix(), 10)}
}
