package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"os"
	"testing"
	"time"

	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/edgekit/edgekit/hub/decodetest"
)

// zip compresses fast, for what a decoder receives.
func zip(content []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(content) // a buffer takes all
	_ = w.Close()
	return b.Bytes()
}

// oneFile is a tar with one file.
func oneFile(name string, content []byte, pax map[string]string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(content)), PAXRecords: pax}) // a buffer takes all
	_, _ = w.Write(content)
	_ = w.Close()
	return b.Bytes()
}

// attackers is a policy and a subject for signatures from anybody.
func attackers() (*policy, ocispec.Descriptor) {
	p := &policy{dir: os.TempDir(), document: trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{{
		Name: "all", RegistryScopes: []string{"*"}, TrustStores: []string{"ca:none"}, TrustedIdentities: []string{"*"},
		SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: "strict"},
	}}}}
	return p, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromString("x"), Size: 1}
}

// unpackBytes unpacks a layer into a new folder.
func unpackBytes(dir string, layer []byte) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	_, err = unpackTo(root, bytes.NewReader(layer), Config{MaxFile: 1 << 20, Platform: Platform{OS: "linux", Architecture: "amd64"}})
	for _, name := range []string{"edgecore", "edgectl"} {
		_ = root.Remove(name) // for the next
	}
	return err
}

// TestAttackDecoders bounds what each decoder allocates for a byte that it receives.
func TestAttackDecoders(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := &trust{keys: []namedKey{{"k", &key.PublicKey}}}
	everybody, subject := attackers()
	names := func() [][]byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for range 8 {
			_ = w.WriteHeader(&tar.Header{Name: "blobs/", Typeflag: tar.TypeDir, PAXRecords: map[string]string{"EDGEKIT.x": string(make([]byte, 0))}}) // a buffer takes all
		}
		return [][]byte{b.Bytes(), oneFile("index.json", make([]byte, 5000), nil), oneFile("edgecore", nil, map[string]string{"EDGEKIT.x": string(bytes.Repeat([]byte("x"), 60_000))})}
	}
	tokens := decodetest.JSONTokens()
	decodetest.Search(t,
		decodetest.Case{Name: "upgrade_index", Decode: func(b []byte) { _, _ = parseIndex(b) }, Before: `{"schemaVersion":2,"manifests":[`, Between: ",", After: "]}", Units: []string{"{}", `{"digest":""}`, `{"platform":{}}`}, Tokens: tokens},
		decodetest.Case{Name: "upgrade_manifest", Decode: func(b []byte) { _, _, _ = parseManifest(b) }, Before: `{"schemaVersion":2,"layers":[`, Between: ",", After: "]}", Units: []string{"{}", `{"annotations":{}}`}, Tokens: tokens},
		decodetest.Case{Name: "upgrade_config", Decode: func(b []byte) { _, _ = parseInfo(b) }, Before: `{"storeFormatsRead":[`, Between: ",", After: "]}", Units: []string{"1"}, Tokens: tokens},
		decodetest.Case{Name: "upgrade_signature_payload", Tokens: tokens, Before: `{"critical":{"image":{`, Between: ",", After: "}}}", Units: []string{`"a":1`}, Decode: func(b []byte) {
			sum := sha256.Sum256([]byte("another"))
			_, _ = keys.verifyPayload(b, sum[:], subject)
		}},
		decodetest.Case{Name: "upgrade_layout", Whole: names(), Decode: func(b []byte) {
			l := &layout{blobs: make(map[string]place)}
			_, _ = l.scan(bytes.NewReader(b))
		}, Units: []string{string(oneFile("blobs/", nil, nil)[:512])}},
		decodetest.Case{Name: "upgrade_layer", Decode: func(b []byte) { _ = unpackBytes(dir, b) }, Units: []string{"x"}, Whole: [][]byte{
			noisy(oneFile("edgecore", make([]byte, 100_000), nil)), noisy(oneFile("x", nil, map[string]string{"EDGEKIT.x": string(bytes.Repeat([]byte("x"), 900_000))})), noisy(make([]byte, 1<<20)),
		}},
		decodetest.Case{Name: "upgrade_envelope_jws", Tokens: tokens, Before: `{"payload":"","protected":"","header":{"x5c":[`, Between: ",", After: `]},"signature":""}`, Units: []string{`""`, `"YQ=="`}, Decode: func(b []byte) {
			_, _ = everybody.verify(context.Background(), LocalScope, subject, b, "application/jose+json", time.Unix(0, 0)) // measured, not run for a caller
		}},
		decodetest.Case{Name: "upgrade_envelope_cose", Before: "\xd2\x84\x43\xa1\x01\x26\xa0\x40", Units: []string{"\x40", "\x80", "\xa0", "\x81\xa0"}, Decode: func(b []byte) {
			_, _ = everybody.verify(context.Background(), LocalScope, subject, b, "application/cose", time.Unix(0, 0)) // measured, not run for a caller
		}},
	)
}

// noisy compresses content behind a header with bytes that do not compress, so that the input is
// not too small to be measured.
func noisy(content []byte) []byte {
	noise := make([]byte, 6000)
	_, _ = rand.Read(noise) // it never fails
	return append(zip(content), noise...)
}

// FuzzLayer: no layer makes anything but the two programs, or a panic.
func FuzzLayer(f *testing.F) {
	f.Add(oneFile("edgecore", []byte("\x7fELF"), nil))
	f.Add(oneFile("../x", []byte("x"), map[string]string{"path": "edgecore"}))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		for _, layer := range [][]byte{content, zip(content)} {
			_ = unpackBytes(dir, layer) // most are refused
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
				t.Errorf("%v, %v", entries, err)
			}
		}
	})
}

// FuzzLayout: no file makes a layout with places outside of it.
func FuzzLayout(f *testing.F) {
	f.Add(oneFile("index.json", []byte(`{"schemaVersion":2}`), nil))
	f.Add(oneFile("blobs/sha256/", nil, nil))
	f.Fuzz(func(t *testing.T, content []byte) {
		l := &layout{blobs: make(map[string]place)}
		files, err := l.scan(bytes.NewReader(content))
		for name, p := range files {
			if err == nil && (p.offset < 512 || p.size < 0 || p.offset+p.size > int64(len(content))) {
				t.Errorf("%s is at %d with %d bytes, of %d", name, p.offset, p.size, len(content))
			}
		}
	})
}

// FuzzManifests: whatever the JSON is, it is refused or has what the next step needs.
func FuzzManifests(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"artifactType":"` + ArtifactType + `","config":{"mediaType":"` + ConfigType + `"},"layers":[{"mediaType":"` + LayerType + `"}]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"platform":{"os":"linux"}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if config, layer, err := parseManifest(text); err == nil && (!isDigest(string(config.Digest)) || layer.Size < 0) {
			t.Errorf("%+v, %+v", config, layer)
		}
		if manifests, err := parseIndex(text); err == nil {
			_, _ = Host().choose(manifests) // it may have none
		}
		if i, err := parseInfo(text); err == nil && i.StoreFormat < 1 {
			t.Errorf("%+v", i)
		}
	})
}

// FuzzSignature: nothing that was not signed by the key is accepted, and nothing panics.
func FuzzSignature(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	keys := &trust{keys: []namedKey{{"k", &key.PublicKey}}}
	everybody, subject := attackers()
	f.Add([]byte(`{"critical":{}}`), []byte("x"))
	f.Add([]byte("\xd2\x84\x43\xa1\x01\x26\xa0\x40\x40"), []byte("x"))
	f.Fuzz(func(t *testing.T, payload, signature []byte) {
		if by, err := keys.verifyPayload(payload, signature, subject); err == nil {
			t.Errorf("accepted as %s", by)
		}
		for _, mediaType := range []string{"application/jose+json", "application/cose", string(signature)} {
			if by, err := everybody.verify(t.Context(), LocalScope, subject, payload, mediaType, time.Unix(0, 0)); err == nil {
				t.Errorf("accepted as %s", by)
			}
		}
	})
}
