package credentialprovider_test

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/credentialprovider"
	"github.com/edgekit/edgekit/edged/image"
)

// A provider is asked only about the registries that it is for.
func Example() {
	providers, err := credentialprovider.New(credentialprovider.Config{
		BinDir: "/usr/libexec/providers",
		Providers: []credentialprovider.Provider{{
			Name: "ecr-credential-provider", APIVersion: credentialprovider.APIVersion,
			MatchImages:          []string{"*.dkr.ecr.*.amazonaws.com"},
			DefaultCacheDuration: &metav1.Duration{Duration: 12 * time.Hour},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ref, _ := image.Parse("quay.io/acme/sensor:1")
	keys, err := providers.Credentials(context.Background(), nil, ref)
	fmt.Println(len(keys), err)
	// Output: 0 <nil>
}
