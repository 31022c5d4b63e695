package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// maxLayoutExtra is what a layout may have besides its layers.
const maxLayoutExtra = 1 << 20

// openURL fetches a layout into the cache and opens it there.
func (a *attempt) openURL(ctx context.Context, address string) (source, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, refuse("source", "%.200q: want https://HOST/PATH without a name or password in it", address)
	}
	sum := sha256.Sum256([]byte(address))
	name := filepath.Join(a.to.Cache, "url-"+hex.EncodeToString(sum[:8]))
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("upgrade: %w", err)
	}
	if err := a.fetchURL(ctx, u, f, name+".etag"); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l, err := newLayout(f, a.req.Digest, a.cfg.Platform)
	if err != nil {
		return nil, err
	}
	l.ours = true
	return l, nil
}

// fetchURL completes a file. Beside it is the version of what is in it, as the server names it.
func (a *attempt) fetchURL(ctx context.Context, u *url.URL, f *os.File, tagFile string) error {
	have, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	tag, err := os.ReadFile(tagFile)
	if err != nil || len(tag) == 0 || len(tag) > 1024 {
		have, tag = 0, nil
	}
	a.resumed = a.resumed || have > 0
	response, err := a.get(ctx, u, have, string(tag))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	total := response.ContentLength
	switch response.StatusCode {
	case http.StatusOK:
		have = 0
	case http.StatusPartialContent:
		var from, to int64
		if _, err := fmt.Sscanf(response.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &total); err != nil || from != have || to < from {
			return errors.Join(&passingError{errors.New("the server answers with another range")}, os.Remove(tagFile))
		}
	case http.StatusRequestedRangeNotSatisfiable:
		if _, err := fmt.Sscanf(response.Header.Get("Content-Range"), "bytes */%d", &total); err == nil && total == have {
			return nil // it is complete
		}
		return errors.Join(&passingError{errors.New("the file at the server has changed")}, os.Remove(tagFile))
	default:
		return &statusError{u.Redacted(), response.StatusCode}
	}
	if total < 0 {
		return refuse("source", "%s does not say how large it is (Content-Length)", u.Redacted())
	}
	if total > a.cfg.MaxBytes+maxLayoutExtra {
		return refuse("source", "it has %d bytes, and at most %d are allowed", total, a.cfg.MaxBytes+maxLayoutExtra)
	}
	if err := a.room(a.to.Cache, total-have); err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(have), writeTag(tagFile, response.Header)); err != nil {
		return err
	}
	if _, err := f.Seek(have, io.SeekStart); err != nil {
		return err
	}
	return a.copy(f, response.Body, have, total)
}

// get asks for a file, from an offset on if it is still the one with the tag.
func (a *attempt) get(ctx context.Context, u *url.URL, from int64, tag string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if from > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
		r.Header.Set("If-Range", tag)
	}
	c, err := a.cfg.Credentials(ctx, u.Host)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Token != "":
		r.Header.Set("Authorization", "Bearer "+c.Token)
	case c.Username != "":
		r.SetBasicAuth(c.Username, c.Password)
	}
	return a.http.Do(r) // net/http removes the credentials when it is sent to another host
}

// writeTag remembers a strong ETag. Without one a download cannot go on.
func writeTag(name string, h http.Header) error {
	tag := h.Get("ETag")
	if strings.HasPrefix(tag, "W/") || len(tag) > 1024 {
		tag = ""
	}
	return os.WriteFile(name, []byte(tag), 0o600)
}
