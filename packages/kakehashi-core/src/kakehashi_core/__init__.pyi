from .checkpoints import (
    Checkpoint as Checkpoint,
)
from .checkpoints import (
    load_checkpoint as load_checkpoint,
)
from .checkpoints import (
    load_packaged_checkpoint as load_packaged_checkpoint,
)
from .checkpoints import (
    read_manifest as read_manifest,
)
from .checkpoints import (
    read_packaged_manifest as read_packaged_manifest,
)
from .checkpoints import (
    save_checkpoint as save_checkpoint,
)
from .contracts import (
    GuessRequest as GuessRequest,
)
from .contracts import (
    GuessResult as GuessResult,
)
from .contracts import (
    InitialGuess as InitialGuess,
)
from .contracts import (
    NonlocalXCFunctional as NonlocalXCFunctional,
)
from .contracts import (
    Sampler as Sampler,
)
from .contracts import (
    XCFunctional as XCFunctional,
)
from .devices import (
    resolve_device as resolve_device,
)
from .devices import (
    resolve_dtype as resolve_dtype,
)
from .ensembles import (
    TaskFailure as TaskFailure,
)
from .ensembles import (
    run_ensemble as run_ensemble,
)
from .errors import (
    CheckpointError as CheckpointError,
)
from .errors import (
    ConvergenceError as ConvergenceError,
)
from .errors import (
    DomainWarning as DomainWarning,
)
from .errors import (
    EnsembleError as EnsembleError,
)
from .errors import (
    InvalidInputError as InvalidInputError,
)
from .errors import (
    KakehashiError as KakehashiError,
)
from .errors import (
    LockedError as LockedError,
)
from .errors import (
    PluginLoadError as PluginLoadError,
)
from .errors import (
    UnknownNameError as UnknownNameError,
)
from .errors import (
    UnsupportedError as UnsupportedError,
)
from .files import (
    atomic_write as atomic_write,
)
from .files import (
    directory_lock as directory_lock,
)
from .files import (
    write_json as write_json,
)
from .foreign_weights import import_state_dict as import_state_dict
from .gaussian_kernels import GaussianKernel as GaussianKernel
from .model_card import ModelCard as ModelCard
from .progress import progress_bar as progress_bar
from .random_streams import (
    recorded_seed as recorded_seed,
)
from .random_streams import (
    spawn as spawn,
)
from .random_streams import (
    torch_generator as torch_generator,
)
from .registry import (
    Plugin as Plugin,
)
from .registry import (
    State as State,
)
from .registry import (
    entry_names as entry_names,
)
from .registry import (
    find as find,
)
from .registry import (
    load as load,
)
from .registry import (
    load_factory as load_factory,
)
from .registry import (
    plugins as plugins,
)
from .results import (
    ConvergenceReport as ConvergenceReport,
)
from .results import (
    ConvergenceStage as ConvergenceStage,
)
from .results import (
    Estimate as Estimate,
)
from .specs import (
    API_VERSION as API_VERSION,
)
from .specs import (
    CalculatorSpec as CalculatorSpec,
)
from .specs import (
    Citation as Citation,
)
from .specs import (
    CommandSpec as CommandSpec,
)
from .specs import (
    Domain as Domain,
)
from .specs import (
    InitialGuessSpec as InitialGuessSpec,
)
from .specs import (
    PluginSpec as PluginSpec,
)
from .specs import (
    SamplerSpec as SamplerSpec,
)
from .specs import (
    XCSpec as XCSpec,
)
from .threads import thread_limit as thread_limit
