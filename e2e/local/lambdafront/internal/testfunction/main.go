// Command testfunction is the Lambda function of lambdafront's and gateway's tests: it does what the event says.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// event is {"do":"..."}; Size and Text belong to some of the verbs.
type event struct {
	Do   string `json:"do"`
	Size int    `json:"size"`
	Text string `json:"text"`
}

// invocation is what the runtime told the function.
type invocation struct {
	RequestID   string            `json:"request_id"`
	FunctionARN string            `json:"function_arn"`
	HasDeadline bool              `json:"has_deadline"`
	Custom      map[string]string `json:"custom"`
	Event       json.RawMessage   `json:"event"`
	Process     int               `json:"process"`
}

func main() {
	if os.Getenv("FAIL_AT_START") != "" {
		fmt.Fprintln(os.Stderr, "failing at start")
		os.Exit(3)
	}
	if hold := os.Getenv("WATCH"); hold != "" {
		if err := watch(hold); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(4)
		}
	}
	lambda.StartWithOptions(handle, lambda.WithEnableSIGTERM(func() { fmt.Println("got SIGTERM") }))
}

// watch registers an extension that works after each answer until the file hold is there.
func watch(hold string) error {
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2020-01-01/extension/"
	request, err := http.NewRequest(http.MethodPost, api+"register", strings.NewReader(`{"events":["INVOKE"]}`))
	if err != nil {
		return err
	}
	request.Header.Set("Lambda-Extension-Name", "test")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	id := response.Header.Get("Lambda-Extension-Identifier")
	go func() {
		for {
			next, _ := http.NewRequest(http.MethodGet, api+"event/next", nil)
			next.Header.Set("Lambda-Extension-Identifier", id)
			response, err := http.DefaultClient.Do(next)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			var event struct {
				Type      string `json:"eventType"`
				RequestID string `json:"requestId"`
			}
			err = json.NewDecoder(response.Body).Decode(&event)
			response.Body.Close()
			fmt.Println("extension got", event.Type, event.RequestID, err)
			for {
				if _, err := os.Stat(hold); err == nil {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
			fmt.Println("extension done")
		}
	}()
	return nil
}

func handle(ctx context.Context, raw json.RawMessage) (any, error) {
	var e event
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, err
	}
	fmt.Println("handling", e.Do)
	switch e.Do {
	case "environment":
		variables := map[string]string{}
		for _, pair := range os.Environ() {
			name, value, _ := strings.Cut(pair, "=")
			variables[name] = value
		}
		return variables, nil
	case "text":
		return e.Text, nil
	case "large":
		return strings.Repeat("x", e.Size), nil
	case "fail":
		return nil, errors.New(e.Text)
	case "panic":
		panic(e.Text)
	case "exit":
		os.Exit(7)
	case "hang":
		<-make(chan struct{})
	}
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, ok := ctx.Deadline()
	return invocation{
		RequestID:   lc.AwsRequestID,
		FunctionARN: lc.InvokedFunctionArn,
		HasDeadline: ok && time.Until(deadline) > 0,
		Custom:      lc.ClientContext.Custom,
		Event:       raw,
		Process:     os.Getpid(),
	}, nil
}
