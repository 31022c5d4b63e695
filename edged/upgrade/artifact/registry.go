package artifact

import (
	"context"
	"errors"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// signatureType is the artifactType of notation's signatures.
const signatureType = "application/vnd.cncf.notary.signature"

// registrySource is a repository in a registry.
type registrySource struct {
	repository *remote.Repository
	reference  string
}

// openRegistry opens HOST/REPOSITORY[:TAG][@DIGEST].
func (a *attempt) openRegistry(name string) (source, error) {
	repository, err := remote.NewRepository(name)
	if err != nil {
		return nil, refuse("source", "oci://%.200s: %v: want oci://HOST/REPOSITORY:TAG", name, err)
	}
	reference := repository.Reference.Reference
	if a.req.Digest != "" {
		reference = a.req.Digest
	}
	if reference == "" {
		return nil, refuse("source", "oci://%.200s has neither a tag nor a digest", name)
	}
	repository.PlainHTTP = plainHost(a.cfg.PlainHTTP, repository.Reference.Host())
	repository.MaxMetadataBytes = 4 * maxIndex
	repository.ReferrerListMaxPages = 4
	repository.ManifestMediaTypes = []string{ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest}
	repository.Client = &auth.Client{
		Client: a.http, Cache: auth.NewCache(), ClientID: "edgekit",
		Credential: func(ctx context.Context, host string) (auth.Credential, error) {
			c, err := a.cfg.Credentials(ctx, host)
			return auth.Credential{Username: c.Username, Password: c.Password, RefreshToken: c.Token}, err
		},
	}
	return &registrySource{repository, reference}, nil
}

func (s *registrySource) scope() string {
	return s.repository.Reference.Registry + "/" + s.repository.Reference.Repository
}

func (s *registrySource) resolve(ctx context.Context) (ocispec.Descriptor, error) {
	d, err := s.repository.Resolve(ctx, s.reference)
	if errors.Is(err, errdef.ErrNotFound) {
		return d, refuse("source", "%s has no %s", s.scope(), s.reference)
	}
	return d, err
}

func (s *registrySource) fetch(ctx context.Context, d ocispec.Descriptor, limit int64) ([]byte, error) {
	if err := checkDescriptor("blob", d, limit); err != nil {
		return nil, err
	}
	body, err := s.repository.Fetch(ctx, d)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, refuse("source", "%s has no %s", s.scope(), d.Digest)
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return readBlob(body, d, limit)
}

func (s *registrySource) signatures(ctx context.Context, d ocispec.Descriptor) (found []ocispec.Descriptor, err error) {
	err = s.repository.Referrers(ctx, d, signatureType, func(page []ocispec.Descriptor) error {
		found = append(found, page...)
		if len(found) > maxEntries {
			return refuse("signature", "%s has more than %d referrers", d.Digest, maxEntries)
		}
		return nil
	})
	return found, err
}

func (s *registrySource) tagged(ctx context.Context, tag string) (ocispec.Descriptor, bool, error) {
	d, err := s.repository.Resolve(ctx, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return d, false, nil
	}
	return d, err == nil, err
}

func (s *registrySource) blob(ctx context.Context, d ocispec.Descriptor, offset int64) (io.ReadCloser, int64, error) {
	body, err := s.repository.Blobs().Fetch(ctx, d)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, 0, refuse("layer", "%s has no %s", s.scope(), d.Digest)
	}
	if err != nil || offset == 0 {
		return body, 0, err
	}
	seeker, ok := body.(io.Seeker)
	if !ok {
		return body, 0, nil // the registry knows no ranges
	}
	if _, err := seeker.Seek(offset, io.SeekStart); err != nil {
		return nil, 0, errors.Join(err, body.Close())
	}
	return body, offset, nil
}

func (s *registrySource) Close() error { return nil }
