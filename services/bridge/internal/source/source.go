// Package source reads the text of the access policy from where ACCESS_POLICY_PARAMETER points: an
// SSM parameter, decrypted, or an S3 object.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// maxPolicy bounds the text read; Cedar for a thousand groups has some 200 KB.
const maxPolicy = 1 << 20

// S3 is what this package calls of it.
type S3 interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// SSM is what this package calls of it.
type SSM interface {
	GetParameter(context.Context, *ssm.GetParameterInput, ...func(*ssm.Options)) (*ssm.GetParameterOutput, error)
}

// Read returns the text at place, s3://bucket/key or an SSM parameter's name or ARN.
func Read(ctx context.Context, parameters SSM, objects S3, place string) (string, error) {
	path, isObject := strings.CutPrefix(place, "s3://")
	if !isObject {
		output, err := parameters.GetParameter(ctx, &ssm.GetParameterInput{Name: &place, WithDecryption: aws.Bool(true)})
		if err != nil {
			return "", err
		}
		if output.Parameter == nil || output.Parameter.Value == nil {
			return "", fmt.Errorf("parameter %s holds nothing", place)
		}
		return *output.Parameter.Value, nil
	}
	bucket, key, _ := strings.Cut(path, "/")
	if bucket == "" || key == "" {
		return "", errors.New("an S3 URI is s3://bucket/key")
	}
	output, err := objects.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", err
	}
	defer output.Body.Close()
	text, err := io.ReadAll(io.LimitReader(output.Body, maxPolicy+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxPolicy {
		return "", fmt.Errorf("%s is larger than %d bytes", place, maxPolicy)
	}
	return string(text), nil
}
