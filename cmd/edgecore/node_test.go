package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// joined makes a data folder with a certificate that ended so long ago.
func joined(t *testing.T, ended time.Duration) string {
	t.Helper()
	begin := time.Now().Add(-ended - time.Hour)
	ca, err := join.NewCA("test", begin)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.IssueNode(key.Public(), "edge-1", begin, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	dir := filepath.Join(data, identityDir)
	c := join.Credentials{Node: "edge-1", Key: key, Leaf: leaf, Roots: []*x509.Certificate{ca.Certificate()}}
	if err := c.Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := nodejoin.SaveCloud(dir, "cloud.example:10000"); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestOpenNode(t *testing.T) {
	tests := []struct {
		name  string
		ended time.Duration
		want  string // in the log
	}{
		{"a certificate that is valid", -30 * time.Minute, ""},
		{"a certificate that has expired: the node works on and says what to do", 24 * time.Hour, "join again with --replace"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var text bytes.Buffer
			n, err := openNode(joined(t, tt.ended), "", transportAuto, "", slog.New(slog.NewTextHandler(&text, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			if n.name != "edge-1" || n.cloud != "cloud.example:10000" {
				t.Errorf("node %q of cloud %q", n.name, n.cloud)
			}
			if got := text.String(); !strings.Contains(got, tt.want) || (tt.want == "") == strings.Contains(got, "expired") {
				t.Errorf("log: %s", got)
			}
		})
	}
}

func TestOpenNodeTwice(t *testing.T) {
	data := joined(t, -30*time.Minute)
	n, err := openNode(data, "", transportAuto, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if _, err := openNode(data, "", transportAuto, "", slog.New(slog.DiscardHandler)); !errors.Is(err, badgerstore.ErrInUse) {
		t.Errorf("a folder in use: %v", err)
	}
}

func TestOpenNodeWithoutIdentity(t *testing.T) {
	_, err := openNode(t.TempDir(), "", transportAuto, "", slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "edgecore join") {
		t.Errorf("the error does not say what to do: %v", err)
	}
}
