package compose

import (
	"errors"

	nettypes "github.com/containers/common/libnetwork/types"
)

// noNetwork stands where buildah expects a network back end. RUN uses the
// host's network, so no back end is ever asked for more than its name; without
// this one buildah looks for netavark and fails where it is missing.
type noNetwork struct{}

var _ nettypes.ContainerNetwork = noNetwork{}

var errNoNetwork = errors.New("container networks are not supported, instructions use the network of the host")

func (noNetwork) NetworkCreate(n nettypes.Network, _ *nettypes.NetworkCreateOptions) (nettypes.Network, error) {
	return n, errNoNetwork
}
func (noNetwork) NetworkUpdate(string, nettypes.NetworkUpdateOptions) error { return errNoNetwork }
func (noNetwork) NetworkRemove(string) error                                { return errNoNetwork }
func (noNetwork) NetworkList(...nettypes.FilterFunc) ([]nettypes.Network, error) {
	return nil, nil
}
func (noNetwork) NetworkInspect(string) (nettypes.Network, error) {
	return nettypes.Network{}, errNoNetwork
}
func (noNetwork) Setup(string, nettypes.SetupOptions) (map[string]nettypes.StatusBlock, error) {
	return nil, errNoNetwork
}
func (noNetwork) Teardown(string, nettypes.TeardownOptions) error { return nil }
func (noNetwork) RunInRootlessNetns(f func() error) error         { return f() }
func (noNetwork) RootlessNetnsInfo() (*nettypes.RootlessNetnsInfo, error) {
	return nil, errNoNetwork
}
func (noNetwork) Drivers() []string                 { return nil }
func (noNetwork) DefaultNetworkName() string        { return "none" }
func (noNetwork) NetworkInfo() nettypes.NetworkInfo { return nettypes.NetworkInfo{} }
