package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/central-ops/central-ops/e2e/local/moto"
)

// sessionTable is the table in which bridges share MCP sessions; its key is named as infra names it.
const sessionTable = "benchmark-sessions"

// withTable runs measure with the address of a DynamoDB, moto's, that has the session table.
func withTable(ctx context.Context, python string, measure func(ctx context.Context, endpoint string) ([]Row, error)) ([]Row, error) {
	server, err := moto.Start(ctx, moto.Config{Python: python, DefaultAccount: centralAccount, Region: region})
	if err != nil {
		return nil, err
	}
	defer server.Close()
	body, err := json.Marshal(map[string]any{
		"TableName": sessionTable, "BillingMode": "PAY_PER_REQUEST",
		"KeySchema":            []any{map[string]string{"AttributeName": "pk", "KeyType": "HASH"}},
		"AttributeDefinitions": []any{map[string]string{"AttributeName": "pk", "AttributeType": "S"}},
	})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	request.Header.Set("X-Amz-Target", "DynamoDB_20120810.CreateTable")
	// moto takes the service from the scope and does not look at the signature.
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/"+region+"/dynamodb/aws4_request, SignedHeaders=host, Signature=none")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("create the session table: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body) // what could not be read is missing from a message
		return nil, fmt.Errorf("create the session table: %s: %s", response.Status, text)
	}
	return measure(ctx, server.URL)
}
