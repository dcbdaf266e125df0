package moto

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Lambda reads functions from a moto server. It is safe for concurrent use.
type Lambda struct {
	Endpoint string // the server's URL
	Account  string // 12 digits
	Region   string
}

// Function is the configuration of a function as GetFunctionConfiguration answers it; members that change nothing in the
// local platform are left out.
// https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConfiguration.html
type Function struct {
	Name        string `json:"FunctionName"`
	Role        string // ARN
	Timeout     int    // seconds
	MemorySize  int    // MB
	Environment struct{ Variables map[string]string }
}

// Function returns the version that the alias stands for.
func (m Lambda) Function(ctx context.Context, name, alias string) (Function, error) {
	var to struct{ FunctionVersion string }
	if err := m.get(ctx, name+"/aliases/"+alias, &to); err != nil {
		return Function{}, err
	}
	var f Function
	return f, m.get(ctx, name+"/configuration?Qualifier="+to.FunctionVersion, &f)
}

func (m Lambda) get(ctx context.Context, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.Endpoint+"/2015-03-31/functions/"+path, nil)
	if err != nil {
		return fmt.Errorf("ask moto: lambda: %w", err)
	}
	req.Header.Set("X-Moto-Account-Id", m.Account)
	// moto takes service and Region from the scope and does not look at the signature.
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/"+m.Region+"/lambda/aws4_request, SignedHeaders=host, Signature=none")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask moto: lambda: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 { // moto answers some reads with 201
		return fmt.Errorf("ask moto: lambda: %s: %s", path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("ask moto: lambda: %s: %w", path, err)
	}
	return nil
}
