package converse

import (
	"bytes"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
)

// SteadyBodies is an option of the Bedrock client that keeps a stream from breaking when the answer
// begins at once. The SDK closes the request's body when the answer's header is there; net/http may at
// that moment still be looking for the body's end, takes the closed body for a write error and closes
// the connection in the middle of the stream. Over a network that takes luck, on loopback one stream in
// 200. A body that does not mind being closed is the cure.
func SteadyBodies(options *bedrockruntime.Options) {
	options.HTTPClient = steadyClient{options.HTTPClient}
}

type steadyClient struct{ next bedrockruntime.HTTPClient }

// Do implements bedrockruntime.HTTPClient.
func (c steadyClient) Do(request *http.Request) (*http.Response, error) {
	if request.Body == nil || request.Body == http.NoBody {
		return c.next.Do(request)
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	if err := request.Body.Close(); err != nil {
		return nil, err
	}
	request = request.Clone(request.Context())
	request.Body = io.NopCloser(bytes.NewReader(body))
	return c.next.Do(request)
}
