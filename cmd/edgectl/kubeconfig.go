package main

import (
	"context"
	"fmt"
	"os"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/install"
)

type kubeconfigCmd struct {
	Valid time.Duration `help:"How long its token is good; the API server may give less. Make another before it ends." default:"8760h"`
}

// Run prints a kubeconfig of cloudcore's ServiceAccount. The caller's rights decide
// whether it can be made.
func (k *kubeconfigCmd) Run(ctx context.Context, cli *cli, out program.Output) error {
	if k.Valid < 10*time.Minute {
		return &program.UsageError{Setting: "valid", Reason: "must be 10m or more"}
	}
	cfg, err := cli.restConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	seconds := int64(k.Valid / time.Second)
	token, err := client.CoreV1().ServiceAccounts(cli.Namespace).CreateToken(ctx, install.ServiceAccount,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("make a token of service account %s/%s: %w: if there is none, run 'edgectl manifest | kubectl apply -f -' first", cli.Namespace, install.ServiceAccount, err)
	}
	text, err := kubeconfigFor(cfg, token.Status.Token)
	if err != nil {
		return err
	}
	if _, err := out.Write(text); err != nil {
		return err
	}
	_, err = fmt.Fprintf(os.Stderr, "the token is good until %s\n", token.Status.ExpirationTimestamp.Format(time.RFC3339))
	return err
}

// kubeconfigFor returns the kubeconfig of a token's bearer at the cluster of cfg.
func kubeconfigFor(cfg *rest.Config, token string) ([]byte, error) {
	ca := cfg.CAData
	if len(ca) == 0 && cfg.CAFile != "" {
		var err error
		if ca, err = os.ReadFile(cfg.CAFile); err != nil {
			return nil, fmt.Errorf("read the cluster's certificate authority: %w", err)
		}
	}
	const name = "cloudcore"
	out := clientcmdapi.NewConfig()
	out.Clusters[name] = &clientcmdapi.Cluster{
		Server: cfg.Host, TLSServerName: cfg.ServerName, InsecureSkipTLSVerify: cfg.Insecure, CertificateAuthorityData: ca,
	}
	out.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
	out.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	out.CurrentContext = name
	return clientcmd.Write(*out)
}
