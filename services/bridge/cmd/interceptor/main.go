// Command interceptor is the Lambda function that AgentCore Gateway calls before a request goes to
// its target: it copies the user's token into a header that may travel on. See package interceptor.
package main

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/central-ops/central-ops/services/bridge/internal/interceptor"
)

func main() { lambda.Start(interceptor.Handle) }
