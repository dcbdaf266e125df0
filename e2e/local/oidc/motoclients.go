package oidc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
)

// MotoClients finds app clients in a moto server, by DescribeUserPoolClient.
type MotoClients struct {
	URL     string
	Account string // that the pools belong to
	Region  string
}

// Client asks moto each time, so that a client made later is found.
func (m MotoClients) Client(ctx context.Context, poolID, clientID string) (Client, bool, error) {
	body, err := json.Marshal(map[string]string{"UserPoolId": poolID, "ClientId": clientID})
	if err != nil {
		return Client{}, false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL+"/", bytes.NewReader(body))
	if err != nil {
		return Client{}, false, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AWSCognitoIdentityProviderService.DescribeUserPoolClient")
	req.Header.Set("X-Moto-Account-Id", m.Account)
	// moto reads service and Region from the scope and does not check the signature.
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20000101/"+m.Region+"/cognito-idp/aws4_request, SignedHeaders=host, Signature=none")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Client{}, false, err
	}
	defer resp.Body.Close()
	var out struct {
		Type           string `json:"__type"` // of an error
		Message        string `json:"message"`
		UserPoolClient struct {
			ClientID     string   `json:"ClientId"`
			Secret       string   `json:"ClientSecret"`
			OAuth        bool     `json:"AllowedOAuthFlowsUserPoolClient"`
			Flows        []string `json:"AllowedOAuthFlows"`
			Scopes       []string `json:"AllowedOAuthScopes"`
			CallbackURLs []string
			Providers    []string `json:"SupportedIdentityProviders"`
		}
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&out); err != nil {
		return Client{}, false, fmt.Errorf("DescribeUserPoolClient: %s: %w", resp.Status, err)
	}
	if resp.StatusCode == http.StatusOK {
		c := out.UserPoolClient
		client := Client{PoolID: poolID, ID: c.ClientID, Secret: c.Secret, Scopes: c.Scopes, CallbackURLs: c.CallbackURLs, Providers: c.Providers}
		if c.OAuth {
			client.Flows = c.Flows
		}
		return client, true, nil
	}
	if slices.Contains([]string{"ResourceNotFoundException", "InvalidParameterException"}, out.Type) {
		return Client{}, false, nil
	}
	return Client{}, false, fmt.Errorf("DescribeUserPoolClient: %s: %s: %s", resp.Status, out.Type, out.Message)
}
