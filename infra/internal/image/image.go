// Package image builds the agent's container image from its static binary and pushes it, without Docker.
//
// The same binary gives the same digest: one layer with one file, no times, a numeric user, linux/arm64. AgentCore fails to
// mount images with many layers and a named user.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-troubleshooting.html
package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// User is the numeric user and group that the agent runs as.
const User = "65532:65532"

// Build returns the image of the binary at path. The roots that it trusts for TLS are Mozilla's, of the version in go.mod
// and not of the machine, so that the digest is the same everywhere.
func Build(path string) (v1.Image, error) {
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	var certificates bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil {
			continue // a PEM file cannot say that a root is trusted for some certificates only
		}
		if err := pem.Encode(&certificates, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, fmt.Errorf("build image: %w", err)
		}
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, file := range []struct {
		name string
		mode int64
		body []byte
	}{{"agent", 0o755, binary}, {"etc/ssl/certs/ca-certificates.crt", 0o644, certificates.Bytes()}} {
		if err := w.WriteHeader(&tar.Header{Name: file.name, Mode: file.mode, Size: int64(len(file.body)), Format: tar.FormatUSTAR}); err != nil {
			return nil, fmt.Errorf("build image: %w", err)
		}
		if _, err := w.Write(file.body); err != nil {
			return nil, fmt.Errorf("build image: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil },
		tarball.WithMediaType(types.DockerLayer))
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = "linux", "arm64", "v8"
	config.Config = v1.Config{Entrypoint: []string{"/agent"}, User: User, ExposedPorts: map[string]struct{}{"8080/tcp": {}}}
	img, err = mutate.ConfigFile(img, config)
	if err != nil {
		return nil, fmt.Errorf("build image: %w", err)
	}
	return img, nil
}

// Push writes the image to repository under its digest, unless it is there.
func Push(ctx context.Context, repository string, img v1.Image, auth authn.Authenticator, options ...name.Option) error {
	digest, err := img.Digest()
	if err != nil {
		return fmt.Errorf("push image: %w", err)
	}
	reference, err := name.NewDigest(repository+"@"+digest.String(), options...)
	if err != nil {
		return fmt.Errorf("push image: %w", err)
	}
	if _, err := remote.Head(reference, remote.WithContext(ctx), remote.WithAuth(auth)); err == nil {
		return nil
	}
	// A tag keeps the image from ECR's rule for untagged ones. Tags are immutable, and this one says what it holds.
	if err := remote.Write(reference.Context().Tag("sha256-"+digest.Hex[:32]), img, remote.WithContext(ctx), remote.WithAuth(auth)); err != nil {
		return fmt.Errorf("push image: %s: %w", repository, err)
	}
	return nil
}
