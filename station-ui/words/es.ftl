# Lo que dice la página, en español.

language = Español

## El marco.

station = Estación
scan = Escanee el equipo
start = Iniciar
lot = Lote
choose-lot = Elija el lote
no-lot = No hay ningún lote abierto
    .next = Pida que abran un lote.
lot-progress = { $completed } de { $quantity } listos
lot-choice = { $lot }: { $completed } de { $quantity } listos
fixture = Puesto
any-fixture = Automático
chosen = Próximo escaneo
fixtures = Puestos
no-fixtures = Esta estación no tiene puestos. Avise al administrador.
live = Conectado
reconnecting = Reconectando
choose-language = Idioma
change = Cambiar
sound = Sonido
on = sí
off = no
no-script = Este navegador tiene los scripts desactivados: la pantalla se renueva cada diez segundos.

## Un recuadro: título y qué hacer.

ready = Listo
    .next = Ponga un equipo y escanéelo.
not-ready = No disponible
    .next = Espere: la estación está parada.
working = Trabajando
    .next = Deje el equipo en su sitio.
ship-it = Enviar
    .next = Sáquelo y envíelo.
waits = Espera a la CA
    .next = Póngalo en el estante. Escanéelo otra vez cuando vuelva la CA.
scan-again = Escanear otra vez
    .next = Su certificado ya está: ponga el equipo y escanéelo otra vez.
stopped = Detenido
    .next = Escanéelo otra vez; si vuelve a pararse, apártelo.
set-aside = Apartar
    .next = Apártelo para un supervisor.
unknown = Desconocido
    .next = Esta pantalla es más antigua que la estación: llame al administrador.
not-current = Reconectando
    .next = Espere. No envíe nada según esta pantalla.
last-known = Último estado: { $headline }
acknowledge = Entendido
    .label = Entendido: { $fixture }, { $headline }
support = Para soporte: { $reason }
step-of = Paso { $step } de { $steps }
preparing = Empezando
took-seconds = { $seconds } s
lasting = desde hace

## Los pasos.

step-requested = Identificando el equipo
step-device-identified = Buscando su clave
step-key-generation-started = Creando su clave
step-key-generated = Probando dónde está la clave
step-residency-proven = Firmando la solicitud
step-request-signed = Poniéndola en cola
step-submitted = La CA está firmando
step-issued = Revisando el certificado
step-write-started = Escribiendo el certificado
step-written = Leyéndolo de nuevo
step-verified = Terminando

## Por qué se detuvo un equipo y qué hacer.

fault-DEVICE_ABSENT = Ningún equipo responde en el puesto.
    .next = Ponga el equipo y escanéelo otra vez.
fault-LINK_LOST = El equipo dejó de responder.
    .next = Colóquelo de nuevo y escanéelo otra vez.
fault-DEADLINE_EXCEEDED = El equipo no respondió a tiempo.
    .next = Colóquelo de nuevo y escanéelo otra vez.
fault-WORKER_CRASHED = El controlador del equipo se interrumpió.
    .next = Coloque el equipo de nuevo y escanéelo otra vez.
fault-DEVICE_BUSY = El equipo sigue ocupado.
    .next = Espere un minuto y escanéelo otra vez.
fault-SESSION_LOST = El equipo perdió su sesión.
    .next = Espere un minuto y escanéelo otra vez.
fault-PIN_REJECTED = El equipo rechazó el PIN. No se intenta otra vez.
    .next = Llame al administrador.
fault-PIN_LOCKED = El PIN del equipo está bloqueado o en su último intento.
    .next = Llame al administrador.
fault-DICTIONARY_ATTACK_LOCKOUT = El TPM está bloqueado tras autorizaciones erróneas.
    .next = Déjelo encendido diez minutos y escanéelo otra vez.
fault-STORAGE_FULL = La memoria del equipo está llena.
    .next = Apártelo.
fault-LOCATION_OCCUPIED = El equipo ya tiene algo en ese lugar.
    .next = Apártelo para un supervisor.
    .supervisor = La estación solo quita lo que ella misma hizo. Haga borrar el equipo o retirar su clave y escanéelo otra vez; o descártelo.
fault-NOT_FOUND = Lo que se puso en este equipo ya no está.
    .next = Apártelo para un supervisor.
fault-NOT_SAME_DEVICE = La etiqueta y el equipo no se corresponden: uno de ellos se escaneó antes con otro.
    .next = Apártelo para un supervisor.
    .supervisor = ¿Se escaneó una etiqueta equivocada? Deje que siga y escanee el equipo correcto. ¿La placa o la etiqueta se cambiaron de forma definitiva? Diga que este hardware es este equipo desde ahora.
fault-UNSUPPORTED = El equipo no puede hacer lo que pide el perfil.
    .next = Apártelo para un supervisor.
fault-HARDWARE_FAILURE = El equipo informa de que está averiado.
    .next = Apártelo.
fault-MISMATCH = Las respuestas del equipo no concuerdan.
    .next = Apártelo para un supervisor.
fault-RESIDENCY_UNPROVEN = No está probado que la clave esté en el equipo.
    .next = Apártelo para un supervisor.
fault-MISCONFIGURED = El puesto no está bien configurado.
    .next = Llame al administrador.
fault-CERTIFICATE_REJECTED = El certificado de la CA no es el que se pidió.
    .next = Aparte el equipo y llame al administrador.
fault-REQUEST_REFUSED = La CA rechazó este equipo.
    .next = Apártelo para un supervisor.
fault-FILE_WRITE_FAILED = La estación no pudo escribir los archivos del equipo.
    .next = Llame al administrador.
fault-JOURNAL_FAILED = La estación no puede registrar.
    .next = Llame al administrador.
fault-ANSWER_TOO_LARGE = La respuesta de la CA es demasiado grande.
    .next = Apártelo para un supervisor.
fault-ANSWER_ALTERED = Una respuesta del equipo fue alterada en el camino.
    .next = Apártelo para un supervisor.
fault-IN_DOUBT = Quizá la CA emitió un certificado que no llegó.
    .next = Apártelo para un supervisor.
fault-CANCELLED = Un supervisor lo canceló.
    .next = Escanee el equipo otra vez para empezar de nuevo.
fault-SCRAPPED = Un supervisor descartó este equipo.
    .next = No lo envíe: póngalo con los descartados.

## Lo que afecta a todos los puestos.

page-lost = Esta pantalla perdió su conexión: reconectando
    .next = Lo que muestra puede ser antiguo. Espere, o llame al administrador si sigue así.
searching = Buscando la estación
    .next = Espere. Si sigue así, llame al administrador.
station-lost = La estación no responde: reconectando
    .next = Espere y deje los equipos donde están. Nada de lo iniciado se pierde.
halted = La estación se ha parado
    .next = Deje los equipos donde están y llame al administrador.
authority-away = { $waiting ->
        [0] La CA no está: ningún equipo espera
        [one] La CA no está: 1 equipo espera
       *[other] La CA no está: { $waiting } equipos esperan
    }
    .next = Siga escaneando. Ponga en el estante los equipos que esperan; escanéelos otra vez cuando vuelva la CA.
    .full = No inicie equipos nuevos: la cola está llena. Ponga en el estante los que esperan; escanéelos otra vez cuando vuelva la CA.
drain-seconds = { $seconds ->
        [one] Cuando vuelva, terminarán en 1 segundo más o menos.
       *[other] Cuando vuelva, terminarán en unos { $seconds } segundos.
    }
drain-minutes = { $minutes ->
        [one] Cuando vuelva, terminarán en 1 minuto más o menos.
       *[other] Cuando vuelva, terminarán en unos { $minutes } minutos.
    }

## Qué fue de un escaneo.

nothing = (nada)
unsent = Nadie respondió: escanee otra vez cuando la pantalla esté conectada
started = Iniciado
started-in = Iniciado en { $fixture }
already = { $headline }: este equipo se inició antes
fixture-chosen = { $fixture } está elegido: escanee el equipo
fixture-unknown = Esta estación no tiene el puesto { $fixture }: elija un recuadro
lot-missing = No iniciado: no hay ningún lote abierto. Pida que abran uno y escanee otra vez
lot-not-chosen = No iniciado: elija el lote y escanee otra vez
not-connected = No iniciado: la estación no responde. Escanee otra vez cuando la pantalla esté conectada
form-expired = No hecho: la pantalla se reinició. Escanee otra vez
acknowledge-first = No iniciado: en { $fixture } hay un equipo por resolver. Toque allí «Entendido» o escanee el puesto, y escanee otra vez
acknowledged = { $fixture }: entendido

## Tarjetas.

badge-empty = La tarjeta está vacía: escanéela otra vez
badge-wrong = Esta no es una tarjeta de esta línea: de 1 a 64 letras y cifras
signed-in = Sesión iniciada: { $badge }
sign-out = Cerrar sesión
sign-in-first = No iniciado: escanee primero su tarjeta y después el equipo
operator = Operador
scan-badge = Escanee su tarjeta

## Por qué la estación no inició un equipo.

refused-NO_DEVICE = No iniciado: ningún puesto libre tiene un equipo nuevo
    .next = Ponga el equipo en un puesto y escanéelo otra vez.
refused-FIXTURE_AMBIGUOUS = ¿Qué puesto? En { $fixtures } hay equipos nuevos
    .next = Escanee el código del puesto o toque su recuadro, y escanee el equipo otra vez.
refused-FIXTURE_BUSY = No iniciado: { $fixture } está trabajando
    .next = Espere a que termine o use otro puesto.
refused-UNKNOWN_FIXTURE = No iniciado: esta estación no tiene ese puesto
    .next = Toque un recuadro y escanee otra vez.
refused-LOT_CLOSED = No iniciado: el lote { $lot } está cerrado
    .next = Elija otro lote o pida que abran uno.
refused-LOT_USED_UP = No iniciado: el lote { $lot } está completo, se iniciaron { $started } de { $quantity } equipos
    .next = Devuelva este equipo: no pertenece a este lote.
refused-WRONG_PROFILE = No iniciado: el lote { $lot } es para el perfil { $profile }, no para { $asked }
    .next = Elija el lote correcto y escanee otra vez.
refused-COMMON_NAME_TAKEN = No iniciado: { $device_serial } ya se certificó antes, en el lote { $lot }
    .next = Aparte este equipo: quizá haya una etiqueta repetida. Un supervisor puede hacerlo certificar de nuevo.
refused-REQUEST_ID_REUSED = No iniciado: esta petición ya se hizo con otro contenido
    .next = Escanéelo otra vez.
refused-QUEUE_FULL = No iniciado: la cola está llena
    .next = Espere a que vuelva la CA y escanee otra vez.
refused-CLOCK_WRONG = No iniciado: el reloj de la estación está mal
    .next = Llame al administrador.
refused-STATION_HALTED = No iniciado: la estación se ha parado
    .next = Llame al administrador.
refused-JOURNAL_FAILED = No iniciado: la estación no puede registrar
    .next = Llame al administrador.
refused-ROWS_DAMAGED = No iniciado: hay que reiniciar la estación
    .next = Llame al administrador.
refused-ROLE_NOT_ALLOWED = No hecho: esta pantalla no puede hacerlo
    .next = Llame al administrador.
refused-UNKNOWN_CALLER = No hecho: la estación no conoce esta pantalla
    .next = Llame al administrador.
refused-device_serial = No iniciado: este no es un número de serie de este lote
    .next = Escanee el código del propio equipo.
refused-lot = No iniciado: la estación no conoce este lote
    .next = Elija el lote y escanee otra vez.
refused-profile = No iniciado: esta estación no hace ese perfil
    .next = Llame al administrador.

## Lo mismo, por el tipo de respuesta. Siguen las palabras de la estación.

code-invalid = No iniciado: la estación no acepta esto
code-not-found = No iniciado: la estación no lo conoce
code-exists = No iniciado: ya existe, con otro contenido
code-precondition = No iniciado: antes hay que hacer otra cosa
code-aborted = No iniciado: algo se interpuso. Escanéelo otra vez
code-exhausted = No iniciado: no queda sitio. Inténtelo más tarde
code-denied = No iniciado: esta pantalla no puede hacerlo. Llame al administrador
code-unimplemented = No iniciado: la pantalla y la estación no encajan. Llame al administrador
code-internal = No iniciado: la estación tiene un fallo. Llame al administrador
code-unavailable = La estación no respondió. Escanee otra vez cuando la pantalla esté conectada
code-late = La estación no respondió a tiempo. Escanee otra vez

## Las demás páginas.

pages = Páginas
page-board = Tablero
page-lots = Lotes
page-find = Buscar
page-station = Estación
page-golden = Control de turno
device = Equipo
state = Estado
not-available = La estación no responde: no hay nada que mostrar
    .next = Espere y abra esta página otra vez.
as-of = A las { $time } UTC
lots-started = Iniciados
lots-open = abierto
lots-closed = cerrado
lots-yield = Rendimiento
lots-stuck = Detenidos
lots-none = Aún no se abrió ningún lote.
find-what = Número de serie del equipo, CN o número de serie del certificado
find-none = No se encontró nada para { $wanted }
    .next = Escanee el código del equipo, o escriba su CN o el número de serie del certificado.
find-some = { $count ->
        [one] 1 encontrado
       *[other] { $count } encontrados
    }
story = La historia de { $device_serial }
common-name = CN
profile = Perfil
key = Clave
certificate-serial = Número de serie del certificado
certificate-place = Certificado en
scanned-by = Escaneado por
asked-by = A través de
supersedes = Sustituye a
downloads = Descargar
download-certificate = Certificado
download-chain = Certificado con cadena
download-records = Registros con pruebas
download-proof = Prueba para un auditor
steps = Qué pasó
time = Hora
step = Paso
station-link = Enlace con la CA
station-link-up = La CA responde
station-link-down = La CA no responde
station-link-unknown = Aún no se preguntó
station-since = desde { $time }
station-waiting = Esperan a la CA
station-of-room = { $length } de { $bound } lugares
station-doubt = { $count } en duda
station-graph = Esperan a la CA, la última hora
station-fixtures = Hardware
station-idle = libre
station-busy = trabajando
station-disk = Disco
station-disk-free = { $free } GB de { $size } GB libres
station-clock = Reloj
station-clock-same = El reloj de la estación coincide con el de esta pantalla
station-clock-differs = El reloj de la estación difiere { $seconds } s del de esta pantalla
station-troubles = Para el administrador
station-certificates = Certificados que caducarán
station-days = { $days ->
        [one] en 1 día
       *[other] en { $days } días
    }
needs-server = La estación, como servidor
needs-client = La estación, ante la CA
needs-issuer = Emisor de los certificados de equipos
needs-root = Raíz de los certificados de equipos

## El control de turno con el equipo de referencia.

golden-due = Falta el control de turno
golden-good = Controlada
golden-bad = Control fallido
golden-scan = Escanee el equipo de referencia
golden-check = Controlar
golden-unchecked = Esta estación no está controlada para este turno
    .next = Contrólela con el equipo de referencia antes del primer equipo del turno.
golden-checked = Esta estación está controlada para este turno
    .next = Siga escaneando en el tablero.
golden-failed = El control falló: no envíe nada
    .next = Coloque otra vez el equipo de referencia y repita el control. Si falla de nuevo, llame al administrador.
golden-not-done = No se hizo el control
golden-when = { $time } UTC, con { $device_serial } en { $fixture }
golden-by = por { $operator }
golden-how = Cómo se controla
golden-step-1 = Coloque el equipo de referencia en un puesto.
golden-step-2 = Toque Automático, o el puesto donde está.
golden-step-3 = Escanéelo. No ocupa lugar en ningún lote.

## Lo que decide un supervisor.

supervise = Supervisor
act = Qué debe pasar
act-release = Dejar que siga
act-cancel = Cancelarlo
act-rework = Certificar de nuevo, con la misma clave
act-rework-key = Certificar de nuevo, con otra clave
act-hardware = Este hardware es este equipo desde ahora
act-swap = Placa o etiqueta cambiada: certificar otro hardware como este equipo
act-scrap = Descartar el equipo: revocarlo y liberar su lugar en el lote
reason = Por qué
reason-repaired = Se reparó el fallo
reason-label = La etiqueta estaba mal o no se leía
reason-lot = Estaba en el lote equivocado
reason-damaged = El equipo está dañado
reason-returned = El equipo fue devuelto
reason-test = Era una prueba
reason-board = Se cambió la placa
badge-first = 1. Escanee la tarjeta del supervisor
pin-then = 2. Introduzca el PIN en el teclado
pin = PIN
pin-digits = { $count } cifras introducidas
pin-clear = Borrar
decide = 3. Confirmar
decided = Hecho: { $act }
badge-missing = No hecho: escanee primero la tarjeta del supervisor
refused-SUPERVISOR_WRONG = No hecho: la tarjeta o el PIN no son correctos
    .next = Escanee la tarjeta e introduzca el PIN otra vez.
refused-SUPERVISOR_LOCKED = No hecho: esta tarjeta está bloqueada tras demasiados PIN erróneos
    .next = Llame al administrador.
refused-SUPERVISOR_WAIT = No hecho: demasiados PIN erróneos
    .next = Espere unos minutos e inténtelo otra vez.
refused-SUPERVISOR_UNCOUNTED = No hecho: la estación no puede registrar
    .next = Llame al administrador.
refused-NO_SUPERVISORS = No hecho: esta estación no conoce supervisores
    .next = Llame al administrador.
refused-NOT_QUARANTINED = No hecho: ya no está apartado
    .next = Escanee el equipo.
refused-ALREADY_ENDED = No hecho: ya está terminado o cancelado
    .next = No queda nada por hacer.
refused-NOT_REWORKABLE = No hecho: no tiene un certificado que sustituir
    .next = Escanee el equipo.
refused-ALREADY_SUPERSEDED = No hecho: uno más nuevo ya lo sustituye
    .next = Busque el equipo y abra el más nuevo.
refused-NEW_KEY_UNSUPPORTED = No hecho: este equipo guarda una sola clave
    .next = Certifíquelo de nuevo con la misma clave.
refused-DEVICE_SCRAPPED = No hecho: este equipo fue descartado
    .next = Póngalo con los descartados.
refused-NOT_HARDWARE = No hecho: no se apartó por su hardware
    .next = Cancélelo y certifique otro hardware como este equipo.
refused-OTHER_STATION = No hecho: otra estación hizo el certificado de este equipo
    .next = Descártelo en esa estación.
refused-AUTHORITY_AWAY = No hecho: la CA no está
    .next = Inténtelo otra vez cuando vuelva la CA.
refused-AUTHORITY_REFUSES_STATION = No hecho: la CA no se lo permite a esta estación
    .next = Llame al administrador.
refused-CHECKPOINT_DUE = Aún no hay prueba: la cubre el próximo punto de control de la estación
    .next = Inténtelo otra vez en un minuto.
refused-NOT_ISSUED = No hay prueba: aún no hay certificado
    .next = Inténtelo otra vez cuando el equipo esté listo.
refused-PROOF_TOO_LARGE = La prueba es demasiado grande para esta pantalla
    .next = Llame al administrador.
refused-LOG_UNREADABLE = No hay prueba: no se puede leer el registro de la estación
    .next = Llame al administrador.

## Lo que se registró, paso a paso.

record-requested = Solicitado
record-device-identified = Equipo reconocido
record-key-generation-started = Creación de clave iniciada
record-key-generated = Clave creada
record-residency-proven = Prueba de que la clave está en el equipo
record-request-signed = Solicitud firmada
record-submitted = Presentado a la CA
record-send-started = Envío iniciado
record-not-taken = La CA no lo aceptó
record-in-doubt = En duda
record-resubmitted = Presentado otra vez
record-surplus = Certificado sobrante
record-sealed = Sellado por la CA para el equipo
record-issued = Certificado emitido
record-refused = Rechazado por la CA
record-write-started = Escritura iniciada
record-written = Escrito
record-verified = Verificado en el equipo
record-completed = Terminado
record-failed = Detenido
record-quarantined = Apartado
record-confirmed = Confirmado a la CA
record-device-checked = Comparado con el registro
record-resumed = Escaneado otra vez
record-released = Liberado por un supervisor
record-cancelled = Cancelado por un supervisor
