package image_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/central-ops/central-ops/infra/internal/image"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func build(t *testing.T, body string, mode os.FileMode, modified time.Time) v1.Image {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(binary, []byte(body), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(binary, modified, modified); err != nil {
		t.Fatal(err)
	}
	img, err := image.Build(binary)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digest(t *testing.T, img v1.Image) v1.Hash {
	t.Helper()
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestBuildIsReproducible builds the same binary in another folder, of another time and mode: the Runtime has to see no change.
func TestBuildIsReproducible(t *testing.T) {
	t.Parallel()
	img := build(t, "binary", 0o755, time.Unix(1, 0))
	first := digest(t, img)
	if second := digest(t, build(t, "binary", 0o600, time.Unix(1_700_000_000, 0))); second != first {
		t.Errorf("the same binary gives %s, then %s", first, second)
	}
	if other := digest(t, build(t, "another", 0o755, time.Unix(1, 0))); other == first {
		t.Errorf("another binary gives the same digest %s", other)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	got := []string{config.OS, config.Architecture, config.Config.User, config.Config.Entrypoint[0], config.Created.UTC().Format(time.RFC3339)}
	if diff := cmp.Diff([]string{"linux", "arm64", image.User, "/agent", "0001-01-01T00:00:00Z"}, got); diff != "" {
		t.Errorf("configuration mismatch (-want +got):\n%s", diff)
	}
	if layers, err := img.Layers(); err != nil || len(layers) != 1 {
		t.Errorf("%d layers, %v; want one", len(layers), err)
	}
}
