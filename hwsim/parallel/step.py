"""A training step on many devices: what each computes, what they exchange, and what of that is exposed.

Devices that share layers (`channels`, `maps`) compute the shares of `hwsim.training.share`, of the inputs of all.
Gradients leave in buckets as the backward pass frees them (`hwsim.parallel.events`); stages of a pipeline run one
forward and one backward pass at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from hwsim.errors import InputError
from hwsim.machines import Cluster
from hwsim.machines.cluster import Way
from hwsim.machines.limits import check_batch
from hwsim.parallel.events import Bucket, Sending, backward, pipeline
from hwsim.parallel.gpt import Gpt
from hwsim.parallel.notes import split_notes
from hwsim.parallel.result import ClusterStep, Stage
from hwsim.parallel.split import Parallel
from hwsim.parallel.stages import balanced_cuts, ranges
from hwsim.parallel.volume import crossing, halo_values, own_product
from hwsim.training import Share, TrainingMemory, TrainingRecipe, training_step
from hwsim.units import format_count
from hwsim.workload import Layer, Workload
from hwsim.workload.number_format import DTYPES

__all__ = ["cluster_step"]


def cluster_step(
    cluster: Cluster,
    workload: Workload | Gpt,
    batch: int = 1,
    parallel: Parallel | None = None,
    recipe: TrainingRecipe | None = None,
    cuts: Sequence[int] | None = None,
) -> ClusterStep:
    """The step of a network on a cluster.

    Parameters
    ----------
    cluster : Cluster
    workload : Workload or Gpt
    batch : int
        Inputs of one device; of the devices that share a transformer's blocks (`tensor`), of all of them.
    parallel : Parallel
        Default: data parallelism over a node.
    recipe : TrainingRecipe
    cuts : sequence of int
        Layers after which a pipeline is cut; default: so that the slowest stage takes as little time as can be.

    Raises
    ------
    InputError
        For more devices than the cluster has, and a split that the network does not allow.
    """
    parallel = parallel or Parallel(data=cluster.spec.devices)
    return _Planner(cluster, workload, check_batch(batch), parallel, recipe or TrainingRecipe(), cuts).step()


class _Planner:
    def __init__(
        self,
        cluster: Cluster,
        workload: Workload | Gpt,
        batch: int,
        parallel: Parallel,
        recipe: TrainingRecipe,
        cuts: Sequence[int] | None,
    ) -> None:
        self.cluster, self.parallel, self.recipe, self.cuts = cluster, parallel, recipe, cuts
        self._check_devices()
        if isinstance(workload, Gpt):
            self.network = workload.network(parallel.tensor).lowered()
        else:
            if parallel.tensor > 1:
                raise InputError("tensor must be of a model by its sizes, as gpt:hidden=1024,layers=24,heads=16")
            self.network = workload.lowered()
        self.workload, self.batch = workload, batch
        if parallel.micro and recipe.accumulate > 1:
            raise InputError("micro-batches of a pipeline are accumulated: give micro or accumulate")
        if parallel.stages == 1 and parallel.micro > 1:  # without a pipeline they are batches that are accumulated
            recipe = self.recipe = recipe.model_copy(update={"accumulate": parallel.micro})
        self.micro = parallel.micro or parallel.stages * recipe.accumulate
        self.share = Share(parallel.channels, parallel.maps)
        self.alone = training_step(cluster.device, self.network, batch, recipe)
        self.one = self.alone
        if self.share.devices > 1:
            self.one = training_step(cluster.device, self.network, batch, recipe, self.share)
        self.shards = [self._shards_of(layer) for layer in self.network]
        self._check_parts()
        self.value_bytes = 2 if recipe.mixed else 4
        self.sent_each = self._gradient_bytes()

    def _check_devices(self) -> None:
        parallel, spec = self.parallel, self.cluster.spec
        if parallel.devices > self.cluster.size:
            more = -(-parallel.devices // spec.devices)
            way = f": --set nodes={more} makes it so many" if spec.network is not None else ""
            raise InputError(
                f"{parallel} is of {parallel.devices:,} devices, and {self.cluster.name} has {self.cluster.size:,}{way}"
            )
        if parallel.devices > spec.devices and parallel.devices % spec.devices:
            raise InputError(
                f"{parallel} must fill the nodes of {self.cluster.name}, which have {spec.devices} devices each, "
                f"not leave {parallel.devices % spec.devices} over"
            )

    def _check_parts(self) -> None:
        """There must be channels and rows for every device in some layer."""
        products = [(layer, x) for layer in self.network if (x := own_product(layer)) is not None]
        rows = max((x.geometry.p for _, x in products if x.geometry is not None), default=0)
        channels = max((x.n * x.b for _, x in products), default=0)
        for name, devices, most, what in (
            ("channels", self.parallel.channels, channels, "output channels"),
            ("maps", self.parallel.maps, rows, "rows of a map"),
        ):
            if devices > 1 and not most:
                raise InputError(f"{name} must be 1, not {devices}: {self.network.name} has no {what}")
            if devices > 1 and devices > most:
                raise InputError(
                    f"{name} must be at most {most}, the most {what} of {self.network.name}, not {devices}"
                )

    def _whole(self) -> list[str]:
        """Layers with weights that are shared, but priced whole for the batch of one device."""
        return [layer.name for layer in self.network if own_product(layer) and self.share.part(layer) is None]

    def _uneven(self, layer: Layer) -> float:
        """How much longer the largest share of a layer that is priced whole takes than an equal one."""
        x, factor = own_product(layer), 1.0
        if x is None or self.share.part(layer) is not None:
            return factor
        shares = [(self.parallel.channels, x.n * x.b)]
        if x.geometry is not None:
            shares.append((self.parallel.maps, x.geometry.p))
        else:
            shares.append((self.parallel.maps, x.n * x.b))
        for devices, size in shares:
            factor *= -(-size // devices) * devices / size
        return factor

    def _shards_of(self, layer: Layer) -> int:
        """Devices that have a share of the weights of a layer each; products that gather whole maps are cut, too."""
        x = own_product(layer)
        whole = x is not None and x.geometry is None
        return self.parallel.channels * (self.parallel.maps if whole else 1)

    def _gradient_bytes(self) -> float:
        """Bytes that are sent of the gradient of a parameter."""
        return DTYPES[self.parallel.gradient].bits / 8 if self.parallel.gradient else self.recipe.gradient_bytes

    # ---------------------------------------------------------------- layers

    def _times(self) -> tuple[list[float], list[float]]:
        """Forward and backward time of each layer; what the host and recomputation add is spread over them."""
        one = self.one
        plain = one.forward_s + one.backward_s
        again = one.recompute_s / one.forward_s if one.forward_s else 0.0
        slow = 1 + one.host_s / (plain + one.recompute_s) if plain else 1.0
        factors = [slow * self._uneven(layer) for layer in self.network]
        rows = list(zip(one.layers, factors, strict=True))
        forward = [layer.forward_total_s * factor for layer, factor in rows]
        back = [(layer.backward_total_s + again * layer.forward_total_s) * factor for layer, factor in rows]
        return forward, back

    def _exchanges(self) -> tuple[list[float], float, float]:
        """Seconds that devices which share each layer exchange its maps for, either way; bytes and energy of it all."""
        parallel = self.parallel
        seconds, sent, price = [0.0] * len(self.network), 0.0, 0.0
        inputs = self.batch * parallel.inputs * self.value_bytes
        for place, layer in enumerate(self.network):
            if own_product(layer) is None:
                continue
            if parallel.channels > 1:
                size = layer.outputs * inputs / parallel.maps
                time, moved, joules = self._collective("all_gather", size, parallel.channels, 1)
                seconds[place] += time
                sent, price = sent + moved * parallel.maps, price + joules * parallel.maps
            if parallel.maps > 1:
                x = own_product(layer)
                assert x is not None
                if x.geometry is None:
                    size = layer.inputs * inputs / parallel.channels
                    time, moved, joules = self._collective("all_gather", size, parallel.maps, parallel.channels)
                elif values := halo_values(layer):
                    # Either neighbor sends its half of a border: as an exchange of two.
                    size = values * inputs
                    time, moved, joules = self._collective("all_gather", size, 2, parallel.channels)
                    moved, joules = moved * (parallel.maps - 1), joules * (parallel.maps - 1)
                else:
                    continue
                seconds[place] += time
                sent, price = sent + moved * parallel.channels, price + joules * parallel.channels
        if parallel.tensor > 1:
            for place in self._summed():
                size = self.network[self.network.names[place]].outputs * self.batch * self.value_bytes
                time, moved, joules = self._collective("all_reduce", size, parallel.tensor, 1)
                seconds[place] += time
                sent, price = sent + moved, price + joules
        return seconds, sent, price

    def _summed(self) -> list[int]:
        """Products of a transformer after which the devices that share a block sum."""
        return [i for i, name in enumerate(self.network.names) if name.endswith((".out", ".down"))]

    def _collective(self, op: str, size: float, ranks: int, stride: int) -> tuple[float, float, float]:
        """Seconds, bytes of all ranks together, and energy."""
        way = self.cluster.way(op, size, ranks, stride)
        if way is None:
            return 0.0, 0.0, 0.0
        return float(way.seconds(size)), way.sent_bytes(size), self._link_pj(way, size)

    def _link_pj(self, way: Way, size: float) -> float:
        """Energy of the bytes of a collective."""
        spec, sent = self.cluster.spec, way.sent_bytes(size)
        outside = sent * way.network
        links = spec.links.get(way.links)
        inside = (sent - outside) * float(links.energy) if links is not None else 0.0
        return inside + (outside * float(spec.network.energy) if spec.network is not None else 0.0)

    # ---------------------------------------------------------------- the step

    def step(self) -> ClusterStep:
        parallel, recipe, one = self.parallel, self.recipe, self.one
        forward, back = self._times()
        exchange, sent, price = self._exchanges()
        cuts = self._cuts([f + b + 2 * x for f, b, x in zip(forward, back, exchange, strict=True)])
        places = ranges(cuts, len(self.network))
        forward = [a + b for a, b in zip(forward, exchange, strict=True)]
        back = [a + b for a, b in zip(back, exchange, strict=True)]
        stages = [self._stage(number, place, forward, back) for number, place in enumerate(places)]
        again = 2 if recipe.recompute else 1  # exchanges of the forward pass are repeated, too
        if recipe.recompute:
            back = [b + x for b, x in zip(back, exchange, strict=True)]
            stages = [replace(s, backward_s=math.fsum(back[i] for i in s.layers)) for s in stages]
        transfers = [self._transfer(stage.sent_bytes) for stage in stages[:-1]]
        micro = self.micro
        passes = [s.forward_s for s in stages], [s.backward_s for s in stages]
        if len(stages) > 1:
            ends = pipeline(*passes, [t[0] for t in transfers], micro)
        else:
            ends = [micro * (passes[0][0] + passes[1][0])]
        compute = max(ends)
        busy = micro * math.fsum(s.forward_s + s.backward_s for s in stages) / len(stages)
        finish, buckets, ways, gradients, gradient_pj = compute, list[Bucket](), list[Way](), 0.0, 0.0
        for stage, end in zip(stages, ends, strict=True):
            own, used = self._gradients(stage, back, end)
            gradients += sum(way.sent_bytes(bucket.size_bytes) for bucket, way in zip(own, used, strict=False))
            gradient_pj += sum(self._link_pj(way, b.size_bytes) for b, way in zip(own, used, strict=False))
            late = (1 - parallel.overlap) * math.fsum(bucket.end_s - bucket.start_s for bucket in own)
            last = max([end + late, *(bucket.end_s for bucket in own)])
            if last >= finish or not buckets:
                buckets, ways = own, used
            finish = max(finish, last)
        shares = [self._share(stage.layers) for stage in stages]
        # Gradients of micro-batches are summed; those of batches that one device accumulates are in its update.
        sums = (micro if micro > 1 else 0) - (recipe.accumulate if recipe.accumulate > 1 else 0)
        update = (one.update_s + sums * one.sum_s) * max(shares)
        update_pj = one.update_pj + sums * one.sum_pj - (one.update_s + sums * one.sum_s) * one.static_w * 1e12
        plain = finish + update
        doublings = math.log2(parallel.devices)
        groups, replicas = parallel.inside // parallel.maps, parallel.data
        activations = (sent * (1 + again) + 2 * sum(t[1] for t in transfers)) * micro * replicas
        activation_pj = (price * (1 + again) + 2 * sum(t[2] for t in transfers)) * micro * replicas
        return ClusterStep(
            cluster=self.cluster.name,
            workload=self.network.name,
            parallel=parallel,
            one=one,
            alone_per_s=self.alone.samples_per_s / parallel.tensor,
            micro=micro,
            samples=self.batch * parallel.inputs * micro * parallel.data,
            stages=tuple(stages),
            compute_s=compute,
            inner_s=micro * (1 + again) * math.fsum(exchange),
            bubble=1 - busy / compute if compute else 0.0,
            buckets=tuple(buckets),
            exposed_s=finish - compute,
            update_s=update,
            update_pj=update_pj * math.fsum(shares) * parallel.devices / len(stages),
            waiting_s=self.cluster.spec.straggling * doublings * plain,
            link_bytes={"gradients": gradients * groups, "activations": activations},
            link_pj=gradient_pj * groups + activation_pj,
            ways=tuple(dict.fromkeys(ways)),
            messages=(*one.messages, *split_notes(parallel, gradients, self._whole())),
        )

    def _cuts(self, seconds: Sequence[float]) -> tuple[int, ...]:
        stages = self.parallel.stages
        if stages == 1:
            return ()
        if self.cuts is not None:
            return tuple(self.cuts)
        legal = None
        if isinstance(self.workload, Gpt):
            legal = [i for i, name in enumerate(self.network.names) if name.endswith(".add2")]
        room = len(seconds) if legal is None else len(legal) + 1
        if room < stages:
            count = format_count(room, "layer")
            raise InputError(f"{self.network.name} has {count} to cut between, and layers={stages} needs more")
        return balanced_cuts(seconds, stages, legal)

    def _stage(self, number: int, places: range, forward: Sequence[float], back: Sequence[float]) -> Stage:
        last = places.stop == len(self.network)
        sent = 0.0
        if not last:
            values = crossing(self.network, places.stop - 1)
            sent = values * self.batch * self.parallel.inputs * self.value_bytes / self.parallel.inside
        return Stage(
            places, math.fsum(forward[i] for i in places), math.fsum(back[i] for i in places), sent,
            self._memory(number, places),
        )  # fmt: skip

    def _memory(self, number: int, places: range) -> TrainingMemory:
        """Of a device of a stage: its share of the weights, and activations of the micro-batches in flight."""
        memory, parallel, one = self.one.memory, self.parallel, self.one
        layers = [one.layers[i] for i in places]
        share = self._share(places)
        # What is kept besides the layers' own is the input; computed again, layers keep a share of theirs.
        own, every = (sum(layer.saved_bytes for layer in part) for part in (layers, one.layers))
        more = memory.saved_bytes - every
        if more < 0 or self.recipe.recompute:
            saved = round(memory.saved_bytes * own / max(1, every))
        else:
            saved = own + (more if number == 0 else 0)
        flight = min(self.micro, parallel.stages - number) if parallel.stages > 1 else 1
        # Each device of a split by channels holds the gathered maps of all.
        saved *= flight * parallel.channels
        return replace(
            memory,
            weights_bytes=round(memory.weights_bytes * share),
            gradients_bytes=round(memory.gradients_bytes * share),
            state_bytes=round(memory.state_bytes * share),
            saved_bytes=saved,
        )

    def _share(self, places: range) -> float:
        """Share of the weights that a device of a stage has."""
        weights = math.fsum(self.one.layers[i].weight_count / self.shards[i] for i in places)
        return weights / max(1, self.one.weight_count)

    def _transfer(self, size: float) -> tuple[float, float, float]:
        """A map to the next stage: seconds, bytes and energy of all devices that share the stage."""
        stride = self.parallel.inside * self.parallel.data
        way = self.cluster.way("all_gather", 2 * size, 2, stride)
        assert way is not None
        group = self.parallel.inside
        return float(way.seconds(2 * size)), size * group, self._link_pj(way, 2 * size) / 2 * group

    def _gradients(self, stage: Stage, back: Sequence[float], end: float) -> tuple[list[Bucket], list[Way]]:
        """Buckets of the gradients of a stage, the last backward pass of which ends at `end`; and their ways."""
        parallel = self.parallel
        # Devices that share maps have the same weights of convolutions.
        ranks, stride = parallel.data * parallel.maps, parallel.inside // parallel.maps
        if ranks == 1:
            return [], []
        used: list[Way] = []

        def way(size: float) -> Way:
            server = parallel.reduce == "server"
            chosen = self._server(ranks, stride) if server else self.cluster.way("all_reduce", size, ranks, stride)
            assert chosen is not None
            used.append(chosen)
            return chosen

        layers = [(back[i], self._reduced_bytes(i)) for i in reversed(stage.layers)]
        sending = Sending(way, float(parallel.bucket), parallel.overlap > 0)
        _, buckets = backward(layers, sending, before_s=end - stage.backward_s)
        return buckets, used

    def _reduced_bytes(self, place: int) -> float:
        """Bytes of the gradients of a layer that a device sums with others."""
        parallel, shards = self.parallel, self.shards[place]
        if parallel.data == 1 and shards > parallel.channels:  # a share of its own
            return 0.0
        return self.one.layers[place].weight_count * self.sent_each / shards

    def _server(self, ranks: int, stride: int) -> Way:
        """Parameter servers, over the slowest links: those to the host."""
        ring = min(self.cluster.ways("all_reduce", ranks, stride), key=lambda way: way.bytes_per_s)
        return ring.through_servers(min(self.parallel.servers, ranks))
